//! Leases follow what others do to their units: a restart, a limit that is hit meanwhile.

use super::execute::{Executor, Want};
use super::lease::Lease;
use super::outcome::Outcome;
use crate::policy::{LeaseId, Property};

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

    fn wants_nothing(&self, id: LeaseId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.want == Want::Nothing)
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
