//! Putting limits back.

use std::time::Duration;

use super::cgroup_write::{CgroupWriteError, LimitFile};
use super::execute::{Executor, Want};
use super::fault::{self, Point};
use super::lease::Lease;
use super::outcome::{Outcome, StepResult};
use crate::decode::Limit;
use crate::policy::{LeaseId, Property};

impl Executor {
    /// Puts all leases back, whatever the situation is: by hand, or because the agent stops.
    pub fn revert_all(&mut self, cause: &str) -> Vec<Outcome> {
        self.revert_where(cause, |_| true)
    }

    /// Puts all leases of `unit` back.
    pub fn revert_unit(&mut self, unit: &str, cause: &str) -> Vec<Outcome> {
        self.revert_where(cause, |lease| lease.unit == unit)
    }

    fn revert_where(&mut self, cause: &str, which: impl Fn(&Lease) -> bool) -> Vec<Outcome> {
        let ids: Vec<LeaseId> = self
            .leases()
            .filter(|lease| which(lease))
            .map(|lease| lease.id)
            .collect();
        ids.into_iter()
            .flat_map(|id| self.revert(id, cause, true))
            .collect()
    }

    /// A cgroup was removed: a lease that lived in its file alone has ended with it. One that systemd knows
    /// of stays, as the unit takes the property along when it starts again.
    pub fn cgroup_removed(&mut self, inode: u64) -> Vec<Outcome> {
        let gone: Vec<Lease> = self
            .leases()
            .filter(|lease| lease.inode == inode && lease.systemd.is_none())
            .cloned()
            .collect();
        gone.into_iter()
            .map(|lease| {
                self.forget(lease.id);
                told(
                    &lease,
                    None,
                    "the unit's cgroup was removed".into(),
                    StepResult::Gone,
                )
            })
            .collect()
    }

    /// Begins to end a lease: the cgroup file gets its old value at once, systemd follows.
    pub(super) fn revert(&mut self, id: LeaseId, cause: &str, forced: bool) -> Vec<Outcome> {
        let Some(lease) = self.lease(id).cloned() else {
            let imagined = self.leases().find(|lease| lease.id == id).cloned();
            self.forget(id);
            return imagined
                .map(|lease| told(&lease, Some(lease.old), cause.into(), StepResult::DryRun))
                .into_iter()
                .collect();
        };
        let first = !self.is_ending(id);
        fault::at(Point::BeforeRevert);
        let (now, result) = self.revert_file(&lease, forced);
        fault::at(Point::AfterRevert);
        if let (false, StepResult::Failed(_)) = (forced, &result) {
            return vec![told(&lease, None, cause.into(), result)];
        }
        if lease.systemd.is_none() {
            self.forget(id);
            return vec![told(&lease, now, cause.into(), result)];
        }
        let told_now = result == StepResult::Done;
        if told_now {
            self.note_given_back(id);
        }
        if first {
            self.aim(
                id,
                Want::Revert {
                    cause: cause.into(),
                    forced,
                    told: told_now,
                },
            );
        }
        // systemd's answer tells how it ended; until then only a change of the file is news.
        if told_now {
            vec![told(&lease, now, cause.into(), result)]
        } else {
            Vec::new()
        }
    }

    /// The cgroup file of a lease that is on its way back gets its old value if memmon's own is there (again).
    pub(super) fn give_back_file(&mut self, lease: &Lease, cause: &str, forced: bool) -> Option<Outcome> {
        if lease.property != Property::MemorySwapMax {
            return None;
        }
        let (now, result) = self.revert_file(lease, forced);
        (result == StepResult::Done).then(|| {
            self.note_given_back(lease.id);
            told(lease, now, cause.to_owned(), result)
        })
    }

    /// That the file has its old value is told by now: that systemd has followed is no news then.
    fn note_given_back(&mut self, id: LeaseId) {
        if let Some(Want::Revert { told, .. }) = self.tasks.get_mut(&id).map(|task| &mut task.want) {
            *told = true;
        }
    }

    /// Writes the old value into the cgroup file if memmon's own is still there. Returns the file's value
    /// afterwards and how it went.
    fn revert_file(&self, lease: &Lease, forced: bool) -> (Option<Limit>, StepResult) {
        let page_size = self.options.page_size;
        let inode = Some(lease.inode);
        let mut file = match LimitFile::open(&self.root, &lease.unit, &lease.cgroup, inode, lease.property) {
            Ok(file) => file,
            Err(CgroupWriteError::Gone { .. }) => return (None, StepResult::Gone),
            Err(error) => return (None, StepResult::Failed(error.to_string())),
        };
        if file.value == lease.old {
            return (
                Some(file.value),
                StepResult::Skipped("the old value is there already".into()),
            );
        }
        if !lease.is_ours(file.value, page_size) {
            let kept = format!(
                "{} was set to {} after memmon: kept",
                lease.property.file(),
                file.value
            );
            return (Some(file.value), StepResult::Skipped(kept));
        }
        match file.write(lease.old, page_size) {
            Ok(()) => (Some(file.value), StepResult::Done),
            Err(CgroupWriteError::WouldBlock { current, .. }) if forced => {
                lower_apart(file, lease.old, page_size);
                self.await_value(lease);
                tracing::warn!(
                    unit = lease.unit, old = %lease.old, current,
                    "MemoryHigh goes back below what the unit uses: it is reclaimed and throttled until it fits"
                );
                (Some(lease.old), StepResult::Done)
            }
            Err(CgroupWriteError::Gone { .. }) => (None, StepResult::Gone),
            Err(error) => (Some(file.value), StepResult::Failed(error.to_string())),
        }
    }

    /// Waits, briefly, until the kernel has taken a value that a thread of its own writes: it does so before it
    /// reclaims. If the agent ended first, the thread would end with it.
    fn await_value(&self, lease: &Lease) {
        const STEP: Duration = Duration::from_millis(1);
        const STEPS: u32 = 200;
        for _ in 0..STEPS {
            let inode = Some(lease.inode);
            match LimitFile::open(&self.root, &lease.unit, &lease.cgroup, inode, lease.property) {
                Ok(file) if !lease.is_ours(file.value, self.options.page_size) => return,
                Err(CgroupWriteError::Gone { .. }) => return,
                Ok(_) | Err(_) => std::thread::sleep(STEP),
            }
        }
    }

    /// systemd would write `memory.high` below the unit's usage, and PID 1 would reclaim for as long as that
    /// takes.
    pub(super) fn would_block_systemd(&self, lease: &Lease) -> bool {
        lease.property == Property::MemoryHigh
            && LimitFile::open(&self.root, &lease.unit, &lease.cgroup, None, lease.property)
                .and_then(|file| file.current())
                .is_ok_and(|current| lease.old < Limit::Bytes(current))
    }
}

/// Lowers `memory.high` below usage in a thread of its own: the write reclaims for seconds, and nothing
/// waits for it. It ends with the process at the latest.
fn lower_apart(mut file: LimitFile, old: Limit, page_size: u64) {
    let spawned = std::thread::Builder::new()
        .name("memmon-high".into())
        .spawn(move || {
            if let Err(error) = file.write_through(old, page_size) {
                tracing::error!(%error, "MemoryHigh was not put back in the cgroup file");
            }
        });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread to put MemoryHigh back in the cgroup file");
    }
}

/// The outcome of ending `lease`; `now` is the limit's value afterwards.
pub(super) fn told(lease: &Lease, now: Option<Limit>, reason: String, result: StepResult) -> Outcome {
    Outcome {
        unit: lease.unit.clone(),
        action: "revert",
        lease: Some(lease.id),
        property: Some(lease.property),
        old: Some(lease.new),
        new: now,
        reason,
        result,
        timings: None,
    }
}

#[cfg(test)]
#[path = "revert_tests.rs"]
mod tests;
