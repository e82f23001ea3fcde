//! What is measured, as plain data.

use std::{collections::BTreeMap, sync::Arc};

use super::{Action, Alarm, Blame, Critical, Exhaustion, Histogram, Lease, Stall, SwapOut, Unit};
use crate::{config::Priority, kernel::programs::ProgramStats};

/// A moment of the agent. Counters are totals since it started and never fall.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Units in the tree.
    pub units: Vec<UnitMemory>,
    /// Pages swapped out.
    pub swapout: BTreeMap<SwapOut, u64>,
    /// Pages read back; empty where this kernel does not let them be counted.
    pub swapin: BTreeMap<Unit, u64>,
    /// Pages swapped out of units while they were critical.
    pub critical: BTreeMap<Critical, u64>,
    /// Who lost pages to whom.
    pub blame: BTreeMap<Blame, u64>,
    /// How long tasks waited in reclaim.
    pub stalls: BTreeMap<Stall, Histogram>,
    /// Alarms that are on.
    pub alarms: BTreeMap<Alarm, u64>,
    /// Steps taken.
    pub actions: BTreeMap<Action, u64>,
    /// Leases in force.
    pub leases: BTreeMap<Lease, u64>,
    /// From the kernel's timestamp of a page to the limit in force.
    pub reaction: Histogram,
    /// What was lost, by one of [`lost`].
    pub lost: BTreeMap<&'static str, u64>,
    /// Statistics of the eBPF programs.
    pub programs: Vec<ProgramStats>,
    /// Seconds until something is used up; without a trend there is no entry.
    pub exhaustion: BTreeMap<Exhaustion, f64>,
}

/// A unit's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitMemory {
    /// Name.
    pub unit: Arc<str>,
    /// What it was declared to be: declared units get series before others do.
    pub priority: Priority,
    /// `memory.current`; `None` if it cannot be read.
    pub memory_bytes: Option<u64>,
    /// `memory.swap.current`; likewise.
    pub swap_bytes: Option<u64>,
}

/// The reasons of `memmon_events_lost_total`.
pub mod lost {
    /// Records of swap-outs that found no room in the ring buffer; their pages are counted.
    pub const RING_FULL: &str = "ring_full";
    /// Records of cgroups that found no room; the tree is read again.
    pub const CGROUP_RING_FULL: &str = "cgroup_ring_full";
    /// Pages that found no room in the counters.
    pub const COUNTERS_FULL: &str = "counters_full";
    /// Pages without a readable owner.
    pub const UNATTRIBUTED: &str = "unattributed";
    /// Events for which the kernel ran no program.
    pub const MISSED: &str = "missed";
    /// Stalls that found no room.
    pub const STALLS_FULL: &str = "stalls_full";
    /// Records that were not what the contract says.
    pub const UNDECODABLE: &str = "undecodable";
}
