//! The decision in the making: what has been planned, and what that leaves to plan with.

use std::collections::{BTreeMap, BTreeSet};

use super::state::Readiness;
use super::{Rules, Strategy, StrategyAction, StrategyState, Target};
use crate::config::Priority;
use crate::decode::Limit;
use crate::policy::host::{HostSnapshot, UnitView, ancestry};
use crate::policy::{LimitChange, MonoTime, Property, Snapshot, State, never_touched};

/// Limits are whole pages, bytes.
const PAGE: u64 = 4096;

/// The decision in the making.
pub(super) struct Ledger<'a> {
    pub(super) snapshot: &'a HostSnapshot,
    pub(super) rules: &'a Rules<'a>,
    pub(super) state: &'a StrategyState,
    pub(super) now: MonoTime,
    plan: Vec<Strategy>,
    /// What may still be taken from each cgroup without going below its protection, bytes.
    spare: BTreeMap<&'a str, u64>,
    /// Room in swap, bytes.
    pub(super) swap_free: u64,
    budget: usize,
    /// Steps that take memory: no more than the budget allows.
    taking: Vec<(String, StrategyAction)>,
    /// Steps that had to wait for the budget.
    waiting: usize,
    /// Why nothing was planned, the most telling first.
    idle: Vec<String>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(
        snapshot: &'a HostSnapshot,
        rules: &'a Rules<'a>,
        state: &'a StrategyState,
        now: MonoTime,
    ) -> Self {
        let spare = snapshot
            .cgroups
            .iter()
            .map(|(path, cgroup)| {
                let spare = cgroup.current.saturating_sub(cgroup.protected());
                (path.as_str(), spare)
            })
            .collect();
        Self {
            snapshot,
            rules,
            state,
            now,
            plan: Vec::new(),
            spare,
            swap_free: snapshot.swap.free(),
            budget: state.budget(rules),
            taking: Vec::new(),
            waiting: 0,
            idle: Vec::new(),
        }
    }

    /// What can be found without swapping critical units, bytes: what the other units can give, and the cache of all.
    pub(super) fn elsewhere(&self) -> u64 {
        let units = &self.snapshot.units;
        let cache = units.iter().map(|unit| unit.cache);
        self.others_anon()
            .saturating_add(cache.fold(0, u64::saturating_add))
    }

    /// What swap has room for of the anonymous memory of units that are not critical, bytes.
    fn others_anon(&self) -> u64 {
        let units = &self.snapshot.units;
        let others = units.iter().filter(|unit| unit.priority != Priority::Critical);
        let anon = others.map(|unit| unit.anon).fold(0, u64::saturating_add);
        anon.min(self.swap_free)
    }

    /// Running units that are critical and may be acted upon.
    pub(super) fn critical(&self) -> impl Iterator<Item = &'a UnitView> + use<'a> {
        let own = self.snapshot.own_unit.as_deref();
        self.snapshot.units.iter().filter(move |unit| {
            unit.priority == Priority::Critical && never_touched(&unit.unit, own).is_none()
        })
    }

    /// Units of `priority` that memory may be taken from: never critical or observed ones, none that is never
    /// acted upon, and none whose cgroup holds that of a critical unit.
    pub(super) fn donors(&self, priority: Priority) -> impl Iterator<Item = &'a UnitView> + use<'a> {
        let snapshot = self.snapshot;
        let own = snapshot.own_unit.as_deref();
        let above_critical: BTreeSet<&str> = snapshot
            .units
            .iter()
            .filter(|unit| unit.priority == Priority::Critical)
            .flat_map(|unit| ancestry(&unit.cgroup))
            .collect();
        let holds_critical = move |unit: &UnitView| above_critical.contains(unit.cgroup.as_str());
        snapshot.units.iter().filter(move |unit| {
            unit.priority == priority
                && priority > Priority::Observe
                && priority < Priority::Critical
                && never_touched(&unit.unit, own).is_none()
                && !holds_critical(unit)
        })
    }

    /// What may still be taken from the cgroup at `path`: the least that it or an ancestor can spare.
    pub(super) fn spare(&self, path: &str) -> u64 {
        let complete = self.snapshot.is_complete(path);
        self.snapshot
            .chain(path)
            .map(|(path, _)| self.spare.get(path).copied().unwrap_or(0))
            .min()
            .filter(|_| complete)
            .unwrap_or(0)
    }

    /// Books `bytes` as taken from the cgroup at `path` and its ancestors.
    pub(super) fn take(&mut self, path: &str, bytes: u64) {
        for path in ancestry(path) {
            if let Some(spare) = self.spare.get_mut(path) {
                *spare = spare.saturating_sub(bytes);
            }
        }
    }

    pub(super) fn readiness(&self, unit: &str, action: StrategyAction) -> Readiness {
        if self
            .taking
            .iter()
            .any(|(taken, how)| taken == unit && *how == action)
        {
            // One step at a time.
            return Readiness::CoolingDown;
        }
        self.state.readiness(unit, action, self.rules, self.now)
    }

    /// Plans a step; false if the budget of this minute is used up.
    pub(super) fn plan(
        &mut self,
        action: StrategyAction,
        unit: &UnitView,
        amount: Option<u64>,
        target: Target,
        reason: String,
    ) -> bool {
        if action.takes() {
            if self.budget == 0 {
                self.waiting += 1;
                return false;
            }
            self.budget -= 1;
            self.taking.push((unit.unit.clone(), action));
        }
        let id = self
            .snapshot
            .cgroups
            .get(&unit.cgroup)
            .map_or(0, |cgroup| cgroup.id);
        self.plan.push(Strategy {
            action,
            unit: Some(unit.unit.clone()),
            cgroup: Some((unit.cgroup.clone(), id)),
            amount,
            target,
            reason,
        });
        true
    }

    /// Plans a change of a limit of the cgroup at `path`.
    pub(super) fn change(
        &mut self,
        action: StrategyAction,
        unit: &str,
        path: &str,
        change: LimitChange,
        reason: String,
    ) {
        let id = self.snapshot.cgroups.get(path).map_or(0, |cgroup| cgroup.id);
        self.plan.push(Strategy {
            action,
            unit: Some(unit.to_owned()),
            cgroup: Some((path.to_owned(), id)),
            amount: change.new.bytes(),
            target: Target::Limit(change),
            reason,
        });
    }

    /// A change of `property` of the cgroup at `path` is planned already.
    pub(super) fn planned(&self, path: &str, property: Property) -> bool {
        self.plan.iter().any(|strategy| {
            matches!(strategy.target, Target::Limit(change) if change.property == property)
                && strategy.cgroup.as_ref().is_some_and(|(cgroup, _)| cgroup == path)
        })
    }

    /// This decision asks `unit` already.
    pub(super) fn asks(&self, unit: &str) -> bool {
        self.plan.iter().any(|strategy| {
            strategy.action == StrategyAction::ReleaseRequest && strategy.unit.as_deref() == Some(unit)
        })
    }

    /// Plans a step as it is.
    pub(super) fn push(&mut self, strategy: Strategy) {
        self.plan.push(strategy);
    }

    /// Plans to tell people something that memmon does not do itself.
    pub(super) fn advise(&mut self, action: StrategyAction, unit: Option<&UnitView>, reason: String) {
        self.plan.push(Strategy {
            action,
            unit: unit.map(|unit| unit.unit.clone()),
            cgroup: None,
            amount: None,
            target: Target::Advice,
            reason,
        });
    }

    /// Notes why nothing is done.
    pub(super) fn idle(&mut self, reason: String) {
        self.idle.push(reason);
    }

    /// A lease on `property` of the cgroup, and whether its limit still has memmon's value.
    pub(super) fn lease(&self, path: &str, property: Property) -> Option<bool> {
        let held = self
            .snapshot
            .leases
            .iter()
            .find(|held| held.cgroup == path && held.lease.property == property)?;
        let cgroup = self.snapshot.cgroups.get(path)?;
        let value = match property {
            Property::MemorySwapMax => cgroup.swap.map(|swap| swap.max),
            Property::MemoryHigh => Some(cgroup.high),
            Property::MemoryLow => Some(cgroup.low),
        };
        // The kernel rounds down to whole pages.
        let whole = |limit: Limit| limit.page_aligned(PAGE);
        Some(value.map(whole) == Some(whole(held.lease.new)))
    }

    /// The unit as the reflex and the review see it.
    pub(super) fn unit_snapshot(&self, unit: &UnitView) -> (Snapshot, State) {
        let snapshot = Snapshot {
            unit: unit.unit.clone(),
            priority: unit.priority,
            cgroup: unit.cgroup.clone(),
            cgroup_id: self
                .snapshot
                .cgroups
                .get(&unit.cgroup)
                .map_or(0, |cgroup| cgroup.id),
            chain: self.snapshot.levels(&unit.cgroup),
            below: unit.below.clone(),
            below_complete: unit.below_complete,
            host: self.snapshot.host,
            // What is free counts here as well: it is what the reflex sees.
            elsewhere: self
                .elsewhere()
                .max(self.snapshot.host.available.saturating_add(self.others_anon())),
            situation: self.state.situation.ram,
            tagged: unit.tagged,
            pressure: unit.pressure,
            event: None,
        };
        let state = State {
            leases: self
                .snapshot
                .leases
                .iter()
                .filter(|held| held.unit == unit.unit)
                .map(|held| held.lease.clone())
                .collect(),
            last_critical: unit.last_critical,
            pressure: None,
            own_unit: self.snapshot.own_unit.clone(),
            started_again: false,
            theirs: unit.theirs,
        };
        (snapshot, state)
    }

    /// The decision.
    pub(super) fn finish(mut self) -> Vec<Strategy> {
        let none = |reason: String| Strategy {
            action: StrategyAction::None,
            unit: None,
            cgroup: None,
            amount: None,
            target: Target::Advice,
            reason,
        };
        if self.waiting > 0 {
            self.plan.push(none(format!(
                "{} more {} for the next minute: at most {} actions per minute are allowed",
                self.waiting,
                if self.waiting == 1 {
                    "step waits"
                } else {
                    "steps wait"
                },
                self.rules.strategies.actions_per_minute
            )));
        }
        self.plan.extend(self.idle.into_iter().map(none));
        if self.plan.is_empty() {
            self.plan
                .push(none("the situation is normal: nothing to do".to_owned()));
        }
        self.plan
    }
}
