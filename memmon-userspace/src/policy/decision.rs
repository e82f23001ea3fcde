//! What a decision says.

use std::fmt;

use super::MonoTime;
use crate::decode::Limit;

/// What should happen about one unit: complete, the most urgent first, each step with its reason.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Decision {
    /// The unit.
    pub unit: String,
    /// Its cgroup, from the root of the hierarchy.
    pub cgroup: String,
    /// Inode of that cgroup's directory: who writes must find the same one there.
    pub cgroup_id: u64,
    /// What people must be told; `None` for a review of leases.
    pub alarm: Option<Alarm>,
    /// What to do, most urgent first; never empty: doing nothing is an [`Action::None`] with its reason.
    pub actions: Vec<Planned>,
}

/// Something that people must be told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Alarm {
    /// How bad it is.
    pub severity: Severity,
    /// What happened and why, in words.
    pub reason: String,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// Memory that should stay in RAM went to swap.
    #[default]
    SwapOut,
    /// Something will be used up.
    Forecast,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// Critical memory is in swap, or will be.
    Critical,
}

impl Severity {
    /// The name used on D-Bus, in metrics and in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One step and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Planned {
    /// The step.
    #[serde(flatten)]
    pub action: Action,
    /// Why, in words, with the figures that decided it.
    pub reason: String,
}

/// A step. The names are those of the report's `strategies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Stop further swap-outs: `MemorySwapMax=0`.
    Protect(LimitChange),
    /// `MemorySwapMax` to what is in swap; ratchets down, never up.
    Freeze(LimitChange),
    /// Raise a finite `MemoryHigh`.
    RaiseHigh(LimitChange),
    /// End a lease: the old value comes back.
    Revert {
        /// Which lease.
        lease: LeaseId,
    },
    /// Leave a lease in force, at least until the given time.
    Keep {
        /// Which lease.
        lease: LeaseId,
        /// When to look again.
        until: MonoTime,
    },
    /// Touch nothing.
    None,
}

impl Action {
    /// The name used in JSON, metrics and the journal.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Protect(_) => "protect",
            Self::Freeze(_) => "freeze",
            Self::RaiseHigh(_) => "raise_high",
            Self::Revert { .. } => "revert",
            Self::Keep { .. } | Self::None => "none",
        }
    }

    /// The limit this step changes, if it takes or alters a lease.
    pub const fn change(&self) -> Option<&LimitChange> {
        match self {
            Self::Protect(change) | Self::Freeze(change) | Self::RaiseHigh(change) => Some(change),
            Self::Revert { .. } | Self::Keep { .. } | Self::None => None,
        }
    }
}

/// A change of one limit of the decision's unit, on a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LimitChange {
    /// Which limit.
    pub property: Property,
    /// The cgroup file's value that the decision rests on.
    pub old: Limit,
    /// The value wanted.
    pub new: Limit,
    /// The lease does not end before.
    pub deadline: MonoTime,
}

/// A limit that memmon changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Property {
    /// How much of the unit may be in swap.
    MemorySwapMax,
    /// Above it the unit is throttled and reclaimed.
    MemoryHigh,
    /// Below it the unit is spared while others can be reclaimed.
    MemoryLow,
}

impl Property {
    /// The name of the systemd property.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MemorySwapMax => "MemorySwapMax",
            Self::MemoryHigh => "MemoryHigh",
            Self::MemoryLow => "MemoryLow",
        }
    }

    /// The cgroup file it stands for.
    pub const fn file(self) -> &'static str {
        match self {
            Self::MemorySwapMax => "memory.swap.max",
            Self::MemoryHigh => "memory.high",
            Self::MemoryLow => "memory.low",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Number of a lease; never used twice in one lease file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
