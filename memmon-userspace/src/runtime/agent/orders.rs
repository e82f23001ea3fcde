//! What root asks for over D-Bus.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::oneshot;

use super::{Agent, now};
use crate::{
    action::{Outcome, StepResult},
    export::{dbus::Order, json::report::StrategyField},
    policy::{Action, Decision, LeaseId},
};

/// Somebody waits until these leases have ended.
pub(super) struct Reverting {
    leases: Vec<LeaseId>,
    answer: oneshot::Sender<()>,
}

impl Agent {
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Apply { dry_run, answer } => {
                tracing::info!(dry_run, "strategies are asked for over D-Bus");
                let mut fields = self.strategies(dry_run);
                fields.extend(self.apply_host(dry_run));
                let _ = answer.send(fields);
            }
            Order::RevertAll { answer } => self.revert_all(answer),
        }
    }

    fn revert_all(&mut self, answer: oneshot::Sender<()>) {
        let Some(hands) = &mut self.hands else {
            let _ = answer.send(());
            return;
        };
        let leases = hands.executor.leases().map(|lease| lease.id).collect();
        let outcomes = hands
            .executor
            .revert_all("asked for with RevertAll, whatever the situation is: pages may go to swap again");
        self.tell(&outcomes);
        self.reverting.push(Reverting { leases, answer });
        self.answer_reverts();
    }

    /// Answers those whose leases have all ended.
    pub(super) fn answer_reverts(&mut self) {
        if self.reverting.is_empty() {
            return;
        }
        let left: BTreeSet<LeaseId> = self
            .hands
            .iter()
            .flat_map(|hands| hands.executor.leases().map(|lease| lease.id))
            .collect();
        for waiting in std::mem::take(&mut self.reverting) {
            if waiting.answer.is_closed() {
                continue;
            }
            if waiting.leases.iter().any(|lease| left.contains(lease)) {
                self.reverting.push(waiting);
            } else {
                let _ = waiting.answer.send(());
            }
        }
    }

    /// What is to be done now, carried out or only said. The same decisions that the agent makes by itself.
    pub(super) fn strategies(&mut self, dry_run: bool) -> Vec<StrategyField> {
        let mut fields = Vec::new();
        for unit in self.units_of_concern() {
            let before = self.states.get(&unit).cloned();
            let Some(decision) = self.ask_again(&unit) else {
                continue;
            };
            if dry_run {
                // Looking leaves no trace: the next review compares with the one before.
                match before {
                    Some(state) => self.states.insert(unit, state),
                    None => self.states.remove(&unit),
                };
                fields.extend(proposed(&decision));
                continue;
            }
            let reaction = self.config.reaction.on_critical_swap;
            if let Some(hands) = &mut self.hands {
                let outcomes = hands.executor.execute(&decision, reaction);
                fields.extend(outcomes.iter().map(|outcome| carried_out(&decision, outcome)));
                self.tell(&outcomes);
            }
        }
        if fields.is_empty() {
            fields.push(StrategyField {
                action: "none",
                unit: None,
                amount: None,
                reason: "no critical unit is in swap and memmon holds no limit".to_owned(),
                applied: false,
                error: None,
            });
        }
        fields
    }

    /// Units with an alarm or a lease.
    pub(super) fn units_of_concern(&self) -> BTreeSet<Arc<str>> {
        let mut units: BTreeSet<Arc<str>> = self.alarms.units().cloned().collect();
        if let Some(hands) = &self.hands {
            let leased = hands.executor.leases();
            units.extend(leased.map(|lease| Arc::from(lease.unit.as_str())));
        }
        units
    }

    /// Measures a unit anew and asks the policy about it; `None` if it has no cgroup and no lease.
    pub(super) fn ask_again(&mut self, unit: &Arc<str>) -> Option<Decision> {
        let index = &self.observer.index;
        let cgroup = index.cgroup_of_unit(unit).map(|(_, path)| path.to_string());
        let cgroup = cgroup.or_else(|| {
            let mut leases = self.hands.as_ref()?.executor.leases();
            leases
                .find(|lease| *lease.unit == **unit)
                .map(|lease| lease.cgroup.clone())
        })?;
        self.ask(unit, Some(&cgroup), None, now())
    }
}

/// Bytes that a step is about.
fn amount(action: &Action) -> Option<u64> {
    match action.change()?.new {
        crate::decode::Limit::Bytes(bytes) => Some(bytes),
        crate::decode::Limit::Max => None,
    }
}

fn proposed(decision: &Decision) -> impl Iterator<Item = StrategyField> {
    decision.actions.iter().map(|planned| StrategyField {
        action: planned.action.as_str(),
        unit: Some(decision.unit.clone()),
        amount: amount(&planned.action),
        reason: planned.reason.clone(),
        applied: false,
        error: None,
    })
}

fn carried_out(decision: &Decision, outcome: &Outcome) -> StrategyField {
    let error = match &outcome.result {
        StepResult::Failed(why) => Some(why.clone()),
        StepResult::Gone => Some("the unit is gone".to_owned()),
        StepResult::Done | StepResult::Confirmed | StepResult::DryRun | StepResult::Skipped(_) => None,
    };
    let amount = outcome.new.and_then(|new| match new {
        crate::decode::Limit::Bytes(bytes) => Some(bytes),
        crate::decode::Limit::Max => None,
    });
    StrategyField {
        action: outcome.action,
        unit: Some(decision.unit.clone()),
        amount,
        reason: outcome.reason.clone(),
        applied: matches!(outcome.result, StepResult::Done | StepResult::Confirmed),
        error,
    }
}
