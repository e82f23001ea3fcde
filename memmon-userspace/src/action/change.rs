//! The reaction path: a lease on record, then the limit.

use std::time::Duration;

use super::cgroup_write::{CgroupWriteError, LimitFile};
use super::execute::{Executor, Want};
use super::fault::{self, Point};
use super::journal::JournalError;
use super::lease::{Lease, LeaseState};
use super::outcome::{Outcome, StepResult, Timings};
use crate::config::{OnCriticalSwap, WritePath};
use crate::policy::{Decision, LeaseId, LimitChange, MonoTime, Planned};

impl Executor {
    /// Takes or alters a lease and changes its limit.
    pub(super) fn change(
        &mut self,
        decision: &Decision,
        planned: &Planned,
        change: &LimitChange,
        mode: OnCriticalSwap,
    ) -> Outcome {
        let start = self.now();
        let mut outcome = Outcome {
            unit: decision.unit.clone(),
            action: planned.action.as_str(),
            lease: None,
            property: Some(change.property),
            old: Some(change.old),
            new: Some(change.new),
            reason: planned.reason.clone(),
            result: StepResult::Done,
            timings: None,
        };
        outcome.result = match self.try_change(decision, planned, change, mode, start, &mut outcome) {
            Ok(result) => result,
            Err(ChangeError::Cgroup(CgroupWriteError::Gone { .. })) => StepResult::Gone,
            Err(error) => StepResult::Failed(error.to_string()),
        };
        outcome
    }

    fn try_change(
        &mut self,
        decision: &Decision,
        planned: &Planned,
        change: &LimitChange,
        mode: OnCriticalSwap,
        start: MonoTime,
        outcome: &mut Outcome,
    ) -> Result<StepResult, ChangeError> {
        let (cgroup, inode) = (&decision.cgroup, decision.cgroup_id);
        let mut file = LimitFile::open(&self.root, &decision.unit, cgroup, Some(inode), change.property)?;
        if !self.options.dry_run && file.value != change.old {
            return Ok(StepResult::Skipped(format!(
                "{} has become {} meanwhile",
                change.property.file(),
                file.value
            )));
        }
        let lease = Lease {
            id: LeaseId(0),
            unit: decision.unit.clone(),
            property: change.property,
            cgroup: cgroup.clone(),
            inode,
            old: change.old,
            new: change.new,
            mode,
            reason: planned.reason.clone(),
            created: start,
            deadline: change.deadline,
            state: LeaseState::Taken,
            systemd: None,
        };
        let lease = self.continued(lease);
        let id = lease.id;
        outcome.lease = Some(id);
        if self.options.dry_run {
            self.imagined.insert(id, lease);
            return Ok(StepResult::DryRun);
        }
        let cgroup_only = matches!(lease.state, LeaseState::CgroupOnly { .. });
        fault::at(Point::BeforeLease);
        self.record(lease)?;
        fault::at(Point::AfterLease);
        let recorded_ns = nanos(self.now().since(start));
        let want = if self.options.systemd && !cgroup_only {
            Want::Official
        } else {
            Want::Nothing
        };
        self.aim(id, want);
        if self.options.write_path == WritePath::SystemdOnly && self.options.systemd {
            return Ok(StepResult::Skipped(
                "write_path is systemd-only: systemd is asked next".into(),
            ));
        }
        if let Err(error) = file.write(change.new, self.options.page_size) {
            // Whatever is there now, putting it back looks before it writes.
            self.revert(id, "the limit could not be written", true);
            return Err(error.into());
        }
        fault::at(Point::AfterLimit);
        outcome.new = Some(file.value);
        outcome.timings = Some(Timings {
            recorded_ns,
            written_ns: nanos(self.now().since(start)),
        });
        Ok(StepResult::Done)
    }

    /// `fresh` with a number; or, if there is a lease on the same limit already, that one with the new value.
    /// What was there before the *first* change is what comes back, and a unit has one lease per limit.
    fn continued(&mut self, fresh: Lease) -> Lease {
        let earlier = self
            .leases()
            .find(|lease| lease.unit == fresh.unit && lease.property == fresh.property)
            .cloned();
        match earlier {
            Some(earlier) if earlier.inode == fresh.inode => {
                let state = match earlier.state {
                    LeaseState::Official => LeaseState::Taken,
                    state => state,
                };
                Lease {
                    new: fresh.new,
                    deadline: fresh.deadline,
                    reason: fresh.reason,
                    state,
                    ..earlier
                }
            }
            // The unit was restarted and systemd's property went with it.
            Some(earlier) if earlier.systemd.is_some() => Lease {
                id: earlier.id,
                created: earlier.created,
                systemd: earlier.systemd,
                ..fresh
            },
            earlier => {
                if let Some(gone) = earlier {
                    self.forget(gone.id);
                }
                let id = match &mut self.journal {
                    Some(journal) => journal.next_id(),
                    None => LeaseId(self.imagined.keys().last().map_or(1, |last| last.0 + 1)),
                };
                Lease { id, ..fresh }
            }
        }
    }
}

/// A change was not made.
#[derive(Debug, thiserror::Error)]
enum ChangeError {
    #[error(transparent)]
    Cgroup(#[from] CgroupWriteError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
