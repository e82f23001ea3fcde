//! What a decision rests on.

use super::{LeaseId, MonoTime, Property, Situation};
use crate::config::{OnCriticalSwap, Priority};
use crate::decode::Level;
use crate::decode::{Limit, MemInfo, Pressure, ReclaimKind};

/// One unit as it was measured.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The unit.
    pub unit: String,
    /// What the operator declared it to be.
    pub priority: Priority,
    /// Its cgroup, from the root of the hierarchy.
    pub cgroup: String,
    /// Inode of that cgroup's directory.
    pub cgroup_id: u64,
    /// The unit's cgroup and its ancestors below the root, innermost first; empty if the unit is gone.
    pub chain: Vec<Level>,
    /// Cgroups below the unit's that carry a finite limit of their own.
    pub below: Vec<Level>,
    /// All cgroups below were looked at; if not, `auto` does not stop the unit's swap.
    pub below_complete: bool,
    /// The host's memory.
    pub host: MemInfo,
    /// What the host can find without taking from units whose swap is stopped, or would be by the same rule, bytes;
    /// `u64::MAX`: not measured, and no limit, as for the reflex (see `docs/decisions/0032`).
    pub elsewhere: u64,
    /// The host's situation, hysteresis included.
    pub situation: Situation,
    /// A process of the unit has declared memory of its own critical.
    pub tagged: bool,
    /// The unit's own `memory.pressure`; `None` where the kernel does not account it.
    pub pressure: Option<Pressure>,
    /// The page that went to swap; `None` when leases are reviewed.
    pub event: Option<CriticalEvent>,
}

/// Pages of a critical unit went to swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriticalEvent {
    /// Pages.
    pub pages: u64,
    /// On what occasion.
    pub kind: ReclaimKind,
    /// Where the culprit's cgroup (for limit reclaim: the one whose limit was hit) is, seen from the unit.
    pub relation: Relation,
    /// The culprit in words: a unit name, else a cgroup path; `None` for kswapd and if unknown.
    pub reclaimer: Option<String>,
    /// Name of the task that did the work.
    pub comm: String,
    /// The tagged region that the pages are in; `None` if they are anybody's, of a critical unit.
    pub region: Option<Region>,
}

/// Memory that a process has declared critical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// What the process calls it.
    pub label: String,
    /// Name of the process.
    pub comm: String,
}

impl Snapshot {
    /// Whether memmon acts for the unit: all of it is critical, or it matters at least somewhat and something in it
    /// is.
    pub fn is_protected(&self) -> bool {
        self.priority == Priority::Critical || (self.tagged && self.priority >= Priority::Medium)
    }
}

/// Where a cgroup is, seen from a unit's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Relation {
    /// It is the unit's own.
    Unit,
    /// Above it.
    Ancestor,
    /// Below it: a nested cgroup.
    Below,
    /// In another branch, or the root.
    Elsewhere,
    /// Not known.
    Unknown,
}

impl Relation {
    /// Where `other` is, seen from `unit`; both are paths from the root of the hierarchy.
    pub fn of(unit: &str, other: Option<&str>) -> Self {
        let within = |path: &str, ancestor: &str| {
            path.strip_prefix(ancestor)
                .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
        };
        match other {
            None => Self::Unknown,
            // The root has no limits, so what is done in its name is done for the host.
            Some("/" | "") => Self::Elsewhere,
            Some(other) if other == unit => Self::Unit,
            Some(other) if within(unit, other) => Self::Ancestor,
            Some(other) if within(other, unit) => Self::Below,
            Some(_) => Self::Elsewhere,
        }
    }
}

/// What memmon remembers about the unit.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Leases in force.
    pub leases: Vec<LeaseView>,
    /// When a page of the unit last went to swap although it is critical.
    pub last_critical: Option<MonoTime>,
    /// The pressure at the previous review.
    pub pressure: Option<PressureSample>,
    /// The agent's own unit, never acted upon; `None` if it does not run under systemd.
    pub own_unit: Option<String>,
    /// The unit has been started again while it had a lease, and this is the first look at it since.
    pub started_again: bool,
    /// What somebody else has set `MemorySwapMax` to while memmon had a lease on it.
    pub theirs: Option<Limit>,
}

/// A lease as policy sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeaseView {
    /// Which one.
    pub id: LeaseId,
    /// Which limit.
    pub property: Property,
    /// The cgroup it was taken on; a restarted unit has another.
    pub cgroup_id: u64,
    /// The cgroup file's value before.
    pub old: Limit,
    /// The value that memmon wrote.
    pub new: Limit,
    /// What the reaction was when it was taken.
    pub mode: OnCriticalSwap,
    /// It does not end before.
    pub deadline: MonoTime,
}

/// A unit's stall time at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressureSample {
    /// When it was read.
    pub at: MonoTime,
    /// Microseconds in which at least one task was stalled, since the cgroup was made.
    pub some_us: u64,
    /// The cgroup it belongs to: a restarted unit starts at zero.
    pub cgroup_id: u64,
}

impl State {
    /// Remembers what a later decision needs of `snapshot`.
    pub fn remember(&mut self, snapshot: &Snapshot, now: MonoTime) {
        if snapshot.event.is_some() {
            self.last_critical = Some(now);
        } else {
            self.pressure = snapshot.pressure.map(|pressure| PressureSample {
                at: now,
                some_us: pressure.some.total_us,
                cgroup_id: snapshot.cgroup_id,
            });
        }
    }

    /// The lease on `property` of the cgroup `cgroup_id`, if there is one.
    pub fn lease(&self, property: Property, cgroup_id: u64) -> Option<&LeaseView> {
        self.leases
            .iter()
            .find(|lease| lease.property == property && lease.cgroup_id == cgroup_id)
    }
}
