//! The configuration's types.

use std::time::Duration;

/// How much a unit's memory matters. Ordered: a later one matters more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Attributed and shown, never acted upon.
    Observe,
    /// May be reclaimed for the others.
    Low,
    /// Matters.
    Medium,
    /// Matters much.
    High,
    /// Must not be in swap.
    Critical,
}

/// What to do when a page of a critical unit goes to swap (`shared/acting.md` in words: docs/operations).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCriticalSwap {
    /// Stop further swapping only where that cannot end in an OOM kill.
    Auto,
    /// `MemorySwapMax=0` whatever the headroom: the operator's word.
    Zero,
    /// `memory.swap.max` to what is in swap now, ratcheted down as pages come back.
    Freeze,
    /// Touch nothing.
    AlarmOnly,
}

/// Which way a limit is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WritePath {
    /// The cgroup file at once, then the systemd property so that both agree.
    CgroupThenSystemd,
    /// The systemd property only.
    SystemdOnly,
}

/// `[thresholds]`: fractions of the resource, in (0, 1].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Thresholds {
    /// RAM used = (MemTotal − MemAvailable) / MemTotal from which the situation is critical.
    pub ram_critical: f64,
    /// RAM used from which the situation is high.
    pub ram_high: f64,
    /// Swap used / swap total from which swap is high.
    pub swap_high: f64,
    /// How far below a threshold the value must fall before the situation ends.
    pub hysteresis: f64,
}

/// `[reaction]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Reaction {
    /// What to do.
    pub on_critical_swap: OnCriticalSwap,
    /// How to write it.
    pub write_path: WritePath,
    /// Quiet time before a lease ends.
    pub hold: Duration,
}

/// The effective configuration.
#[derive(Clone, Debug)]
pub struct Config {}
