//! Bringing systemd and the leases to agree: jobs out, reports in.

use std::time::Duration;

use tokio::sync::mpsc;

use super::execute::{Executor, Next, Task, Want};
use super::lease::{Lease, LeaseState};
use super::outcome::{Outcome, StepResult};
use super::revert::told;
use super::systemd::{Job, Report, Restoration, SystemdError};
use super::systemd_plan::UnitFacts;
use crate::decode::Limit;
use crate::policy::{LeaseId, MonoTime, Property};

/// First pause after systemd could not be reached; doubled with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Executor {
    /// Sends the jobs that are due. What finds the channel full goes with the next call.
    pub fn pump(&mut self, jobs: &mpsc::Sender<Job>) {
        let now = self.now();
        let due: Vec<LeaseId> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.is_waiting() && task.not_before <= now)
            .map(|(id, _)| *id)
            .collect();
        let mut restorations = Vec::new();
        for id in due {
            let Some((task, lease)) = self.tasks.get(&id).zip(self.lease(id)) else {
                continue;
            };
            let unit = lease.unit.clone();
            let job = match &task.next {
                Next::Inspect => Job::Inspect {
                    lease: id,
                    unit,
                    apply: task.want == Want::AfterReload && lease.systemd.is_none(),
                },
                // A unit's limits are set together: systemd applies all of them anyway.
                Next::Set if self.is_being_looked_at(&unit) => continue,
                Next::Set => Job::Set {
                    lease: id,
                    values: self.asked_of(&unit),
                    unit,
                },
                Next::Restore(plan) => {
                    restorations.push(Restoration {
                        lease: id,
                        unit,
                        drop_in: plan.drop_in.clone(),
                        reload: plan.reload,
                        apply: plan.reload && plan.keep_in_cgroup.is_some(),
                    });
                    continue;
                }
            };
            if jobs.try_send(job).is_err() {
                return;
            }
            self.sent(id);
        }
        // Reverts that begin together share one reload: they wait for those that are still being looked at.
        if restorations.is_empty() || self.tasks.values().any(Task::is_looking_to_revert) {
            return;
        }
        let ids: Vec<LeaseId> = restorations.iter().map(|each| each.lease).collect();
        if jobs.try_send(Job::Restore(restorations)).is_ok() {
            ids.into_iter().for_each(|id| self.sent(id));
        }
    }

    fn sent(&mut self, id: LeaseId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.in_flight = true;
        }
    }

    /// A lease of `unit` is on its way to systemd, but not yet ready to be set.
    fn is_being_looked_at(&self, unit: &str) -> bool {
        let of_unit = |id: &LeaseId| self.lease(*id).is_some_and(|lease| lease.unit == unit);
        self.tasks
            .iter()
            .any(|(id, task)| task.want == Want::Official && task.next == Next::Inspect && of_unit(id))
    }

    /// All that systemd has been, or is to be, asked for on behalf of `unit`.
    fn asked_of(&self, unit: &str) -> Vec<(Property, Limit)> {
        self.leases()
            .filter(|lease| lease.unit == unit && lease.systemd.is_some() && !self.is_ending(lease.id))
            .map(|lease| (lease.property, lease.new))
            .collect()
    }

    /// When [`Self::pump`] has something to send because a pause ends; `None` if nothing waits.
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        self.tasks
            .values()
            .filter(|task| task.is_waiting())
            .map(|task| task.not_before)
            .min()
    }

    /// No lease waits for systemd or is on its way back.
    pub fn is_settled(&self) -> bool {
        self.tasks.values().all(|task| task.want == Want::Nothing)
    }

    /// systemd has read its configuration again (`Reloading(false)`): every lease is looked at.
    pub fn reloaded(&mut self) {
        if !self.options.systemd {
            return;
        }
        self.theirs_may_be_lost();
        for task in self.tasks.values_mut() {
            match task.want {
                Want::Nothing => {
                    *task = Task {
                        in_flight: task.in_flight,
                        ..Task::new(Want::AfterReload)
                    }
                }
                // What is on its way may have been set just before: looked at once it has arrived.
                Want::Official => task.reloaded = true,
                Want::AfterReload => task.reloaded = task.in_flight,
                // Most likely the reload that it asked for.
                Want::Revert { .. } => {}
            }
        }
    }

    /// Takes a report of the worker.
    pub fn report(&mut self, report: Report) -> Vec<Outcome> {
        match report {
            Report::Inspected { lease, facts } => self.answered(lease, facts, Self::inspected),
            Report::Set { lease, result } => {
                self.answered(lease, result, |executor, lease, ()| executor.set(lease))
            }
            Report::Restored { lease, facts } => self.answered(lease, facts, Self::restored),
        }
    }

    fn answered<T>(
        &mut self,
        id: LeaseId,
        result: Result<T, SystemdError>,
        then: impl FnOnce(&mut Self, Lease, T) -> Vec<Outcome>,
    ) -> Vec<Outcome> {
        // None: the lease has ended meanwhile.
        let Some(lease) = self.lease(id).cloned() else {
            return Vec::new();
        };
        let Some(task) = self.tasks.get_mut(&id) else {
            return Vec::new();
        };
        task.in_flight = false;
        match result {
            Ok(value) => {
                task.attempts = 0;
                then(self, lease, value)
            }
            Err(error) => self.failed(lease, &error),
        }
    }

    /// systemd said no, or nothing. What systemd refuses stays with the cgroup file; everything else is
    /// tried again.
    fn failed(&mut self, lease: Lease, error: &SystemdError) -> Vec<Outcome> {
        let now = self.now();
        let Some(task) = self.tasks.get_mut(&lease.id) else {
            return Vec::new();
        };
        if task.want == Want::Official && !error.is_unreachable() {
            return self.cgroup_only(lease, error.to_string(), None);
        }
        task.pause(now);
        if task.attempts > 1 {
            return Vec::new();
        }
        let action = if matches!(task.want, Want::Revert { .. }) {
            "revert"
        } else {
            action_of(&lease)
        };
        let reason = "the lease stays on record and systemd is asked again".into();
        vec![Outcome {
            action,
            ..told(&lease, None, reason, StepResult::Failed(error.to_string()))
        }]
    }

    fn inspected(&mut self, lease: Lease, facts: UnitFacts) -> Vec<Outcome> {
        let Some(task) = self.tasks.get_mut(&lease.id) else {
            return Vec::new();
        };
        if task.want == Want::AfterReload && std::mem::take(&mut task.reloaded) {
            // These facts may be from before the latest reload: once more.
            return Vec::new();
        }
        match task.want.clone() {
            Want::Official => self.make_official(lease, &facts),
            Want::Revert { cause, forced, .. } => self.plan_revert(&lease, &facts, cause, forced),
            Want::AfterReload => self.after_reload(lease, &facts),
            Want::Nothing => Vec::new(),
        }
    }

    /// Leaves a lease to the cgroup file alone; with `systemd-only` there is nothing in the file, and no lease.
    pub(super) fn cgroup_only(
        &mut self,
        lease: Lease,
        why: String,
        configured: Option<Limit>,
    ) -> Vec<Outcome> {
        let systemd_only = self.options.write_path == crate::config::WritePath::SystemdOnly;
        if systemd_only
            && lease
                .systemd
                .as_ref()
                .is_none_or(|before| before.asked.is_empty())
        {
            self.forget(lease.id);
            let reason = "write_path is systemd-only, so the limit stays as it is".into();
            return vec![Outcome {
                action: action_of(&lease),
                ..told(&lease, Some(lease.old), reason, StepResult::Failed(why))
            }];
        }
        let id = lease.id;
        let reason = format!("in the cgroup file only: {why}");
        let outcome = in_force(&lease, reason);
        let changed = Lease {
            state: LeaseState::CgroupOnly { why, configured },
            ..lease
        };
        self.aim(id, Want::Nothing);
        match self.record(changed) {
            Ok(()) => vec![outcome],
            Err(error) => vec![Outcome {
                result: StepResult::Failed(error.to_string()),
                ..outcome
            }],
        }
    }
}

impl Task {
    /// Begins again after a pause that is longer each time.
    pub(super) fn pause(&mut self, now: MonoTime) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.attempts.min(6))
            .min(LONGEST_PAUSE);
        self.next = Next::Inspect;
        self.not_before = now.after(pause);
        self.attempts += 1;
    }

    fn is_waiting(&self) -> bool {
        self.want != Want::Nothing && !self.in_flight
    }

    fn is_looking_to_revert(&self) -> bool {
        self.in_flight && self.next == Next::Inspect && matches!(self.want, Want::Revert { .. })
    }
}

/// The name of the step that took `lease`.
pub(super) fn action_of(lease: &Lease) -> &'static str {
    match (lease.property, lease.mode) {
        (Property::MemoryHigh, _) => "raise_high",
        (Property::MemorySwapMax, crate::config::OnCriticalSwap::Freeze) => "freeze",
        (Property::MemorySwapMax | Property::MemoryLow, _) => "protect",
    }
}

/// `lease` is in force as before, with news about it.
pub(super) fn in_force(lease: &Lease, reason: String) -> Outcome {
    Outcome {
        action: action_of(lease),
        old: Some(lease.new),
        ..told(lease, Some(lease.new), reason, StepResult::Done)
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
