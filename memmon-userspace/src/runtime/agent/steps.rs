//! Strategies, carried out: limits by the executor, requests over D-Bus, reclaim by threads.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::sync::mpsc;

use super::{Agent, judge::Ended, now};
use crate::{
    action::{
        StepResult,
        reclaim::{Reclaim, Reclaimed, reclaim},
    },
    export::{dbus::Signal, json::report::StrategyField},
    policy::{
        Action, Decision, HostDecision, HostSnapshot, LimitChange, MonoTime, Planned, Strategy,
        StrategyAction, Target,
    },
    source::cgroupfs::CgroupRoot,
};

/// Stalls of a unit's tasks, per mille, at which reclaiming from it stops when RAM is critical.
const PRESSURE: u32 = 250;

/// What came of one strategy.
pub(super) struct Done {
    applied: bool,
    error: Option<String>,
}

impl Agent {
    /// Carries out what the judgement has decided, and keeps it on record.
    pub(super) fn carry_out(&mut self, snapshot: &HostSnapshot, decision: &HostDecision, now: MonoTime) {
        let acts = |strategy: &&Strategy| strategy.target != Target::Advice;
        if !decision.strategies.iter().any(|strategy| acts(&strategy)) {
            return;
        }
        self.chronicle
            .decision(snapshot, decision, &self.judge.state, now);
        for strategy in decision.strategies.iter().filter(acts) {
            self.step(strategy);
        }
    }

    /// The host's strategies as a report shows them.
    pub(super) fn host_fields(decision: &HostDecision) -> Vec<StrategyField> {
        let fields = decision.strategies.iter();
        fields.map(|strategy| field(strategy, None)).collect()
    }

    /// Judges the host anew, by hand, and carries it out whatever `[strategies] act` says.
    pub(super) fn apply_host(&mut self, dry_run: bool) -> Vec<StrategyField> {
        let Some((snapshot, decision)) = self.judge_now() else {
            return Vec::new();
        };
        if dry_run {
            return Self::host_fields(&decision);
        }
        self.chronicle
            .decision(&snapshot, &decision, &self.judge.state, now());
        let strategies = decision.strategies.iter();
        strategies
            .map(|strategy| {
                let done = (strategy.target != Target::Advice).then(|| self.step(strategy));
                field(strategy, done)
            })
            .collect()
    }

    fn step(&mut self, strategy: &Strategy) -> Done {
        let done = match strategy.target {
            Target::Limit(change) => self.step_limit(strategy, change),
            Target::Reclaim { swappiness } => self.step_reclaim(strategy, swappiness),
            Target::Processes => self.step_processes(strategy),
            // The review ends leases, on its own time or now.
            Target::Lease(_) => {
                if let Some(unit) = &strategy.unit {
                    self.review(&Arc::from(unit.as_str()));
                }
                Done {
                    applied: true,
                    error: None,
                }
            }
            Target::Advice => Done {
                applied: false,
                error: None,
            },
        };
        if done.applied {
            self.judge.state.begun(strategy, now());
            tracing::info!(
                unit = strategy.unit,
                amount = strategy.amount,
                "{}{}: {}",
                strategy.action.as_str(),
                if self.options.dry_run { " (dry run)" } else { "" },
                strategy.reason
            );
        } else if let Some(error) = &done.error {
            tracing::warn!(
                unit = strategy.unit,
                "{} is not possible: {error}",
                strategy.action.as_str()
            );
        }
        done
    }

    fn step_limit(&mut self, strategy: &Strategy, change: LimitChange) -> Done {
        let (Some(unit), Some((cgroup, cgroup_id)), Some(hands)) =
            (&strategy.unit, &strategy.cgroup, &mut self.hands)
        else {
            return refused("memmon only observes here");
        };
        let action = match strategy.action {
            StrategyAction::Freeze => Action::Freeze(change),
            StrategyAction::RaiseHigh => Action::RaiseHigh(change),
            _ => Action::Protect(change),
        };
        let decision = Decision {
            unit: unit.clone(),
            cgroup: cgroup.clone(),
            cgroup_id: *cgroup_id,
            alarm: None,
            actions: vec![Planned {
                action,
                reason: strategy.reason.clone(),
            }],
        };
        let mode = self.config.reaction.on_critical_swap;
        let outcomes = hands.executor.execute(&decision, mode);
        let failed = outcomes.iter().find_map(|outcome| match &outcome.result {
            StepResult::Failed(why) | StepResult::Skipped(why) => Some(why.clone()),
            StepResult::Gone => Some("the unit is gone".to_owned()),
            StepResult::Done | StepResult::Confirmed | StepResult::DryRun => None,
        });
        self.tell(&outcomes);
        self.review_in(self.options.interval);
        Done {
            applied: failed.is_none(),
            error: failed,
        }
    }

    fn step_processes(&mut self, strategy: &Strategy) -> Done {
        let (Some(unit), Some(bytes)) = (&strategy.unit, strategy.amount) else {
            return refused("no unit or no amount");
        };
        if strategy.action != StrategyAction::ReleaseRequest {
            return refused(
                "pages come back when they are touched; nothing reads them back ahead of that yet",
            );
        }
        if !self.options.dry_run {
            self.signal(Signal::ReleaseRequested {
                unit: unit.clone(),
                bytes,
            });
        }
        Done {
            applied: true,
            error: None,
        }
    }

    /// Starts a thread: the write reclaims in the writer, and nothing here waits for it.
    fn step_reclaim(&mut self, strategy: &Strategy, swappiness: Option<u8>) -> Done {
        let (Some(unit), Some((cgroup, inode)), Some(amount), Some(hands)) =
            (&strategy.unit, &strategy.cgroup, strategy.amount, &self.hands)
        else {
            return refused("memmon only observes here");
        };
        let order = Reclaim {
            unit: unit.clone(),
            cgroup: cgroup.clone(),
            inode: *inode,
            amount,
            swappiness,
            pressure: if self.judge.state.is_ahead() {
                self.config.proactive.pressure
            } else {
                PRESSURE
            },
        };
        let work = Work {
            mount: hands.root.path().to_owned(),
            order,
            action: strategy.action,
            stop: Arc::clone(&self.judge.stop),
            ends: self.judge.ends.clone(),
            dry_run: self.options.dry_run,
        };
        match std::thread::Builder::new()
            .name("reclaim".to_owned())
            .spawn(move || work.run())
        {
            Ok(_) => Done {
                applied: true,
                error: None,
            },
            Err(error) => refused(&format!("no thread: {error}")),
        }
    }

    pub(super) fn step_ended(&mut self, ended: &Ended) {
        self.judge
            .state
            .ended(&ended.unit, ended.action, ended.asked, ended.gained, now());
        let because = ended.because.as_deref().unwrap_or("all of it was asked for");
        let text = format!(
            "{} of {}: {} of {} KiB gained; {because}",
            ended.action.as_str(),
            ended.unit,
            ended.gained >> 10,
            ended.asked >> 10
        );
        tracing::info!(unit = ended.unit, "{text}");
        self.chronicle.outcome(&ended.unit, text);
        self.judge.look_soon();
    }
}

/// What a thread that reclaims needs.
struct Work {
    mount: PathBuf,
    order: Reclaim,
    action: StrategyAction,
    stop: Arc<AtomicBool>,
    ends: mpsc::Sender<Ended>,
    dry_run: bool,
}

impl Work {
    fn run(self) {
        let done = match CgroupRoot::open(&self.mount) {
            // A dry run takes the same path up to here; that it would have helped is assumed.
            Ok(_) if self.dry_run => Reclaimed {
                gained: self.order.amount,
                ended: None,
            },
            Ok(root) => reclaim(&root, &self.order, &self.stop),
            Err(error) => {
                tracing::error!("the cgroup tree cannot be opened: {error}");
                Reclaimed {
                    gained: 0,
                    ended: None,
                }
            }
        };
        let ended = Ended {
            unit: self.order.unit,
            action: self.action,
            asked: self.order.amount,
            gained: done.gained,
            because: done.ended.map(|error| error.to_string()),
        };
        // If the loop has ended nobody wants to know.
        let _ = self.ends.blocking_send(ended);
    }
}

fn refused(why: &str) -> Done {
    Done {
        applied: false,
        error: Some(why.to_owned()),
    }
}

fn field(strategy: &Strategy, done: Option<Done>) -> StrategyField {
    StrategyField {
        action: strategy.action.as_str(),
        unit: strategy.unit.clone(),
        amount: strategy.amount,
        reason: strategy.reason.clone(),
        applied: done.as_ref().is_some_and(|done| done.applied),
        error: done.and_then(|done| done.error),
    }
}
