//! Values that somebody else has set while memmon had a lease on them: kept as long as the alarm is on.

use super::cgroup_write::LimitFile;
use super::execute::Executor;
use super::lease::Lease;
use super::outcome::{Outcome, StepResult};
use crate::decode::Limit;
use crate::policy::{MonoTime, Property};

/// How long after a daemon-reload systemd may still be writing what it has of a unit into the cgroup.
const SETTLED: std::time::Duration = std::time::Duration::from_secs(10);

/// A `MemorySwapMax` that is not memmon's.
#[derive(Clone, Debug)]
pub(super) struct Theirs {
    value: Limit,
    /// Where it was found.
    cgroup: String,
    inode: u64,
    /// What systemd has beside it, and writes over it at each daemon-reload; `None` as long as that is not known.
    configured: Option<Limit>,
    /// The last daemon-reload since.
    reloaded: Option<MonoTime>,
}

impl Executor {
    /// What somebody else has set `MemorySwapMax` of `unit` to while memmon had a lease on it.
    pub fn theirs(&self, unit: &str) -> Option<Limit> {
        self.theirs.get(unit).map(|theirs| theirs.value)
    }

    /// What made memmon act on `unit` is over: the next time is another matter.
    pub fn forget_theirs(&mut self, unit: &str) {
        self.theirs.remove(unit);
    }

    /// Somebody else has set the limit of `lease`.
    pub(super) fn leave_to_others(&mut self, lease: &Lease, found: Limit) {
        if lease.property == Property::MemorySwapMax {
            let theirs = Theirs {
                value: found,
                cgroup: lease.cgroup.clone(),
                inode: lease.inode,
                configured: None,
                reloaded: None,
            };
            self.theirs.insert(lease.unit.clone(), theirs);
        }
    }

    /// The lease has ended; this is what systemd has.
    pub(super) fn configured_beside_theirs(&mut self, lease: &Lease, configured: Option<Limit>) {
        if lease.property == Property::MemorySwapMax
            && let Some(theirs) = self.theirs.get_mut(&lease.unit)
        {
            theirs.configured = configured;
        }
    }

    /// systemd reads its configuration, and writes what it has of each unit into the cgroups sooner or later.
    pub(super) fn theirs_may_be_lost(&mut self) {
        let now = self.now();
        for theirs in self.theirs.values_mut() {
            theirs.reloaded = Some(now);
        }
    }

    /// Writes a value of somebody else's again that a daemon-reload, perhaps memmon's own, has just undone.
    fn keep_theirs(&mut self, unit: &str) -> Option<Outcome> {
        let theirs = self.theirs.get(unit)?.clone();
        let reloaded = theirs.reloaded?;
        let page_size = self.options.page_size;
        let inode = Some(theirs.inode);
        let property = Property::MemorySwapMax;
        let mut file = LimitFile::open(&self.root, unit, &theirs.cgroup, inode, property).ok()?;
        let undone = theirs.configured.map(|limit| limit.page_aligned(page_size)) == Some(file.value);
        if !undone || file.value == theirs.value || self.now().since(reloaded) > SETTLED {
            return None;
        }
        let written = file.write(theirs.value, page_size);
        Some(Outcome {
            unit: unit.to_owned(),
            action: "revert",
            lease: None,
            property: Some(property),
            old: theirs.configured,
            new: Some(file.value),
            reason: "somebody else has set it, and a daemon-reload had undone that".to_owned(),
            result: match written {
                Ok(()) => StepResult::Skipped(format!("{} was written again", theirs.value)),
                Err(error) => StepResult::Failed(error.to_string()),
            },
            timings: None,
        })
    }

    /// The same of all units.
    pub(super) fn keep_all_theirs(&mut self) -> Vec<Outcome> {
        let units: Vec<String> = self.theirs.keys().cloned().collect();
        units.iter().filter_map(|unit| self.keep_theirs(unit)).collect()
    }
}
