//! The reaction path, walked once ahead of time.

use super::cgroup_write::{CgroupWriteError, LimitFile};
use super::execute::Executor;
use super::journal::JournalError;
use super::lease::{Lease, LeaseState};
use crate::config::{OnCriticalSwap, WritePath};
use crate::policy::{LeaseId, Property};

/// The reaction path does not work, or not at present.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// A cgroup file.
    #[error(transparent)]
    Cgroup(#[from] CgroupWriteError),
    /// The lease file.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Executor {
    /// Puts a lease on record, writes `memory.swap.max` of `unit` as it is, and strikes the lease off again: code, file
    /// system and kernel paths are in memory then. Changes nothing; what a crash in between leaves is a lease whose old
    /// value is there already. A dry run only reads.
    ///
    /// # Errors
    /// If one of the steps fails: then the real thing would as well.
    pub fn rehearse(&mut self, unit: &str, cgroup: &str, inode: u64) -> Result<(), RehearsalError> {
        let property = Property::MemorySwapMax;
        let mut file = LimitFile::open(&self.root, unit, cgroup, Some(inode), property)?;
        let value = file.value;
        let now = self.now();
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let id: LeaseId = journal.next_id();
        journal.record(Lease {
            id,
            unit: unit.to_owned(),
            property,
            cgroup: cgroup.to_owned(),
            inode,
            old: value,
            new: value,
            mode: OnCriticalSwap::Auto,
            reason: "rehearsal: the value is written as it is".to_owned(),
            created: now,
            deadline: now,
            state: LeaseState::Taken,
            systemd: None,
        })?;
        let written = if self.options.write_path == WritePath::SystemdOnly {
            Ok(())
        } else {
            file.write(value, self.options.page_size)
        };
        journal.end(id)?;
        Ok(written?)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::MetadataExt;

    use super::super::test_support::*;
    use super::super::{Options, Outcome};
    use super::*;

    #[test]
    fn a_rehearsal_writes_and_changes_nothing() {
        let world = World::new();
        let mut executor = world.executor();
        let inode = world.inode(CGROUP);
        world.write(CGROUP, "memory.swap.max", "1048576");
        let path = world
            .dir
            .path()
            .join("cgroup")
            .join(&CGROUP[1..])
            .join("memory.swap.max");
        let written = || {
            std::fs::metadata(&path)
                .map(|file| (file.mtime(), file.mtime_nsec()))
                .unwrap()
        };
        let before = written();
        std::thread::sleep(std::time::Duration::from_millis(20));
        executor.rehearse(UNIT, CGROUP, inode).unwrap();
        assert_ne!(written(), before, "it was written");
        assert_eq!(world.swap_max(), "1048576");
        assert!(world.on_record().is_empty() && executor.leases().next().is_none() && executor.is_settled());
        // The next lease is a real one.
        world.write(CGROUP, "memory.swap.max", "max");
        let outcome: Outcome = one(&mut executor, &world.protect(crate::decode::Limit::Max));
        assert_eq!(outcome.lease, Some(LeaseId(2)));
    }

    #[test]
    fn a_rehearsal_tells_what_would_fail() {
        let world = World::new();
        let mut executor = world.executor();
        let gone = executor
            .rehearse(UNIT, CGROUP, world.inode(CGROUP) + 1)
            .unwrap_err();
        assert!(
            matches!(gone, RehearsalError::Cgroup(CgroupWriteError::Gone { .. })),
            "{gone}"
        );
        let (mut dry, ..) = world.open(Options {
            dry_run: true,
            lease_dir: world.dir.path().join("nowhere"),
            ..world.options()
        });
        dry.rehearse(UNIT, CGROUP, world.inode(CGROUP)).unwrap();
        assert!(!world.dir.path().join("nowhere").exists());
    }
}
