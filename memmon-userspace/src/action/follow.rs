//! Leases follow what others do to their units: a restart, a write to the cgroup file.

use super::cgroup_write::{CgroupWriteError, LimitFile};
use super::execute::{Executor, Want};
use super::lease::{Lease, LeaseState};
use super::outcome::{Outcome, StepResult};
use super::revert::told;
use crate::decode::Limit;
use crate::policy::{LeaseId, Property};

/// How long the cgroup file alone may differ before that is somebody's will: a daemon-reload writes the configured
/// value there, which the look at the leases after it puts right.
pub(super) const SETTLED: std::time::Duration = std::time::Duration::from_secs(10);

impl Executor {
    /// A cgroup of a unit was made: the unit was started again and takes systemd's property along, so its leases hold
    /// there from now on. Has systemd looked at, which answers when it has written its limits into the new cgroup.
    ///
    /// Returns whether the unit has such a lease; a lease that lived in the old cgroup's file alone is none.
    pub fn cgroup_added(&mut self, unit: &str, cgroup: &str, inode: u64) -> bool {
        let elsewhere: Vec<Lease> = self
            .leases()
            .filter(|lease| lease.unit == unit && lease.systemd.is_some() && lease.inode != inode)
            .cloned()
            .collect();
        for lease in &elsewhere {
            let moved = Lease {
                cgroup: cgroup.to_owned(),
                inode,
                ..lease.clone()
            };
            if let Err(error) = self.record(moved) {
                tracing::error!(unit, %error, "the lease stays with the cgroup that the unit had before");
            } else if self.wants_nothing(lease.id) {
                self.aim(lease.id, Want::AfterReload);
            }
        }
        !elsewhere.is_empty()
    }

    /// Looks whether somebody has written the limits of `unit` in their cgroup files since memmon did: those are
    /// theirs, the leases end. Where systemd knows of the lease it is asked first, as its drop-in has to go.
    pub fn look_at_files(&mut self, unit: &str) -> Vec<Outcome> {
        let held: Vec<Lease> = self
            .journal
            .iter()
            .flat_map(super::Journal::live)
            .filter(|lease| lease.unit == unit && self.wants_nothing(lease.id))
            .cloned()
            .collect();
        let mut outcomes: Vec<Outcome> = self.keep_theirs(unit).into_iter().collect();
        for lease in held {
            let found = self.strange_value(&lease);
            outcomes.extend(self.found(&lease, found));
        }
        outcomes
    }

    fn found(&mut self, lease: &Lease, found: Option<Limit>) -> Option<Outcome> {
        let now = self.now();
        let task = self.tasks.get_mut(&lease.id)?;
        let Some(found) = found else {
            task.differs_since = None;
            return None;
        };
        let since = *task.differs_since.get_or_insert(now);
        if lease.systemd.is_some() {
            self.aim(lease.id, Want::AfterReload);
            return None;
        }
        if self.options.systemd && now.since(since) < SETTLED {
            return None;
        }
        self.forget(lease.id);
        self.leave_to_others(lease, found);
        if let LeaseState::CgroupOnly { configured, .. } = &lease.state {
            self.configured_beside_theirs(lease, *configured);
        }
        let kept = format!("{} was written {found} after memmon: kept", lease.property.file());
        let reason = "somebody else has set the limit, so the lease ends".to_owned();
        Some(told(lease, Some(found), reason, StepResult::Skipped(kept)))
    }

    /// Gives swap back once more where a lease is on its way back and a limit was hit: systemd may have written its
    /// own value since, into the cgroup of a unit that was started again.
    pub fn give_back_again(&mut self, cgroups: &[String]) -> Vec<Outcome> {
        let ending: Vec<(Lease, String, bool)> = self
            .leases()
            .filter(|lease| lease.property == Property::MemorySwapMax && cgroups.contains(&lease.cgroup))
            .filter_map(|lease| match &self.tasks.get(&lease.id)?.want {
                Want::Revert { cause, forced, .. } => Some((lease.clone(), cause.clone(), *forced)),
                Want::Nothing | Want::Official | Want::AfterReload => None,
            })
            .collect();
        let mut outcomes = Vec::new();
        for (lease, cause, forced) in ending {
            outcomes.extend(self.give_back_file(&lease, &cause, forced));
        }
        outcomes
    }

    /// The cgroup file's value if it is not memmon's; `None` also if the cgroup is gone or cannot be read.
    fn strange_value(&self, lease: &Lease) -> Option<Limit> {
        let inode = Some(lease.inode);
        let file = LimitFile::open(&self.root, &lease.unit, &lease.cgroup, inode, lease.property);
        match file {
            Ok(file) => (!lease.is_ours(file.value, self.options.page_size)).then_some(file.value),
            Err(CgroupWriteError::Gone { .. }) => None,
            Err(error) => {
                tracing::warn!("whose value it is cannot be told: {error}");
                None
            }
        }
    }

    fn wants_nothing(&self, id: LeaseId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.want == Want::Nothing)
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
