//! A swap-out with the names of those concerned.

use std::sync::Arc;

use super::index::UnitIndex;
use super::ledger::UNKNOWN_UNIT;
use super::resolved::Resolved;
use crate::config::Priority;
use crate::decode::{ReclaimKind, SwapOut};

/// A folio that went to swap: whose it was, how much that matters, and who pushed it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributed {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ts_ns: u64,
    /// Cgroup id of the owner.
    pub cgroup_id: u64,
    /// The owner; `None` if its cgroup was gone before the agent could learn its name.
    pub owner: Option<Resolved>,
    /// Priority of the owner's unit; [`Priority::Observe`] if the owner is unknown, so that nothing is done
    /// to anybody by mistake.
    pub priority: Priority,
    /// Pages of the folio.
    pub pages: u64,
    /// Pages of the same cgroup since its previous record that were only counted.
    pub suppressed_pages: u64,
    /// Who pushed it out.
    pub reclaimer: AttributedReclaimer,
}

/// Who pushed a page out, with the name of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributedReclaimer {
    /// On what occasion.
    pub kind: ReclaimKind,
    /// Cgroup id of the culprit; `None` for kswapd and where the kernel does not tell.
    pub cgroup_id: Option<u64>,
    /// Unit of that cgroup; `None` if there is none or its name is not known.
    pub unit: Option<Arc<str>>,
    /// Process id of the task that did the work.
    pub pid: u32,
    /// Name of that task.
    pub comm: String,
}

impl Attributed {
    /// Name of the owner's unit, or [`UNKNOWN_UNIT`].
    pub fn unit(&self) -> &str {
        self.owner.as_ref().map_or(UNKNOWN_UNIT, |owner| &owner.unit)
    }

    /// Whether the page went out because of the owner itself: its own limit, or reclaim by its own tasks.
    pub fn is_self_inflicted(&self) -> bool {
        matches!((&self.owner, &self.reclaimer.unit), (Some(owner), Some(unit)) if owner.unit == *unit)
    }
}

/// Puts names to a swap-out. `priority_of` gives the effective priority of a unit.
pub fn attribute(
    index: &UnitIndex,
    event: SwapOut,
    priority_of: impl FnOnce(&Resolved) -> Priority,
) -> Attributed {
    let owner = index.resolve(event.owner);
    Attributed {
        ts_ns: event.ts_ns,
        cgroup_id: event.owner,
        priority: owner.as_ref().map_or(Priority::Observe, priority_of),
        owner,
        pages: event.pages,
        suppressed_pages: event.suppressed_pages,
        reclaimer: AttributedReclaimer {
            kind: event.reclaimer.kind,
            cgroup_id: event.reclaimer.cgroup_id,
            unit: event
                .reclaimer
                .cgroup_id
                .and_then(|id| index.unit_of(id).cloned()),
            pid: event.reclaimer.pid,
            comm: event.reclaimer.comm,
        },
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
