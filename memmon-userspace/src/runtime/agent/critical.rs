//! Which cgroups the eBPF programs report at once.

use std::{collections::HashSet, sync::Arc};

use super::Agent;
use crate::{attribute::Resolved, config::Priority};

/// Cgroup ids that are marked in the kernel.
#[derive(Debug, Default)]
pub(super) struct Marks(HashSet<u64>);

impl Agent {
    /// The priority that counts: what the configuration says, lowered by what the unit says of itself.
    pub(super) fn priority_of(&self, unit: &str) -> Priority {
        self.observer.index.priority(&self.config, unit)
    }

    /// A cgroup appeared. Below a critical one the programs have marked it already; here it is known by name.
    pub(super) fn mark_new(&mut self, cgroup: &Resolved) {
        if self.priority_of(&cgroup.unit) == Priority::Critical {
            self.mark(cgroup.id);
        } else {
            self.unmark_inherited(cgroup.id);
        }
    }

    /// A unit's priority may have changed.
    pub(super) fn mark_unit(&mut self, unit: &str) {
        let critical = self.priority_of(unit) == Priority::Critical;
        for id in self.observer.index.ids_of_unit(unit).to_vec() {
            if critical { self.mark(id) } else { self.unmark(id) }
        }
    }

    /// All priorities may have changed, or the tree was read anew.
    pub(super) fn mark_critical(&mut self) {
        let units: Vec<Arc<str>> = self
            .observer
            .index
            .units()
            .map(|unit| Arc::clone(unit.name))
            .collect();
        for unit in units {
            self.mark_unit(&unit);
        }
    }

    fn mark(&mut self, id: u64) {
        if !self.marks.0.insert(id) {
            return;
        }
        if let Err(error) = self.observer.probes.mark_critical(id) {
            self.marks.0.remove(&id);
            tracing::error!(
                "cgroup {id} is critical but its pages are only counted, not reported at once: {error}"
            );
        }
    }

    pub(super) fn unmark(&mut self, id: u64) {
        if self.marks.0.remove(&id) {
            self.unmark_inherited(id);
        }
    }

    /// The cgroup is gone, whoever had marked it.
    pub(super) fn take_mark_back(&mut self, id: u64) {
        self.marks.0.remove(&id);
        self.unmark_inherited(id);
    }

    fn unmark_inherited(&mut self, id: u64) {
        if let Err(error) = self.observer.probes.unmark_critical(id) {
            tracing::warn!("cgroup {id} is still reported as critical: {error}");
        }
    }
}
