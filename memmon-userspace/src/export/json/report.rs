//! `memmon.report/1`.

use serde::Serialize;

use crate::{
    config::Priority,
    decode::{Limit, Pressure},
    policy::Situation,
};

/// The situation, the units, and what is proposed to be done.
#[derive(Clone, Debug, Serialize)]
pub struct ReportDocument {
    /// `memmon.report/1`.
    pub schema: &'static str,
    /// The host.
    pub system: SystemField,
    /// Units with a cgroup, most swap first.
    pub units: Vec<UnitField>,
    /// Whose pages were pushed out by whom; null without a running agent.
    pub blame: Option<Vec<BlameField>>,
    /// What is proposed.
    pub strategies: Vec<StrategyField>,
    /// `exact`, `degraded` or `unverified`.
    pub attribution: &'static str,
}

/// The host.
#[derive(Clone, Debug, Serialize)]
pub struct SystemField {
    /// `(MemTotal − MemAvailable) / MemTotal`.
    pub ram_used: f64,
    /// Share of swap in use; null without swap.
    pub swap_used: Option<f64>,
    /// `/proc/pressure/memory`; null if the kernel has none.
    pub psi: Option<PsiField>,
    /// By the thresholds for RAM.
    pub situation: Situation,
    /// `swap_used` has reached its threshold.
    pub swap_high: bool,
}

/// Pressure stall information.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PsiField {
    /// Some tasks waited.
    pub some: PsiLine,
    /// All tasks waited.
    pub full: PsiLine,
}

/// One line of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PsiLine {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last 60 seconds.
    pub avg60: f64,
    /// Percent of the last 300 seconds.
    pub avg300: f64,
    /// Microseconds in all.
    pub total: u64,
}

impl From<Pressure> for PsiField {
    fn from(pressure: Pressure) -> Self {
        let line = |line: crate::decode::PressureLine| PsiLine {
            avg10: line.avg10,
            avg60: line.avg60,
            avg300: line.avg300,
            total: line.total_us,
        };
        Self {
            some: line(pressure.some),
            full: line(pressure.full),
        }
    }
}

/// One unit. What only a running agent knows is null when none runs.
#[derive(Clone, Debug, Serialize)]
pub struct UnitField {
    /// Name.
    pub unit: String,
    /// Effective priority.
    pub priority: Priority,
    /// Its own cgroup.
    pub cgroup: Option<String>,
    /// `memory.current`.
    pub memory_bytes: Option<u64>,
    /// `memory.swap.current`.
    pub swap_bytes: Option<u64>,
    /// Pages swapped out since the agent started.
    pub swapout_pages: Option<u64>,
    /// Pages read back since the agent started.
    pub swapin_pages: Option<u64>,
    /// Pages swapped out although the unit is critical.
    pub critical_pages_swapped: Option<u64>,
    /// Time its tasks were stalled in reclaim.
    pub stall_seconds: Option<f64>,
    /// The cgroup's files.
    pub limits: LimitsField,
    /// Leases on its limits; null if the lease file cannot be read.
    pub leases: Option<Vec<LeaseField>>,
}

/// Memory limits in bytes, `"max"` for none, null where there is no such file.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LimitsField {
    /// `memory.min`.
    pub memory_min: Option<Limit>,
    /// `memory.low`.
    pub memory_low: Option<Limit>,
    /// `memory.high`.
    pub memory_high: Option<Limit>,
    /// `memory.max`.
    pub memory_max: Option<Limit>,
    /// `memory.swap.max`.
    pub swap_max: Option<Limit>,
}

/// A limit that memmon changed for a while.
#[derive(Clone, Debug, Serialize)]
pub struct LeaseField {
    /// systemd's name of the limit.
    pub property: &'static str,
    /// Before.
    pub old: Option<Limit>,
    /// Now.
    pub new: Limit,
    /// Why.
    pub reason: String,
    /// When it was taken.
    pub since: String,
    /// When it ends if all stays quiet.
    pub deadline: Option<String>,
}

/// Whose pages were pushed out by whom.
#[derive(Clone, Debug, Serialize)]
pub struct BlameField {
    /// Owner of the pages.
    pub victim: String,
    /// Culprit; null for kswapd.
    pub reclaimer: Option<String>,
    /// Kind of reclaim.
    pub kind: &'static str,
    /// Pages.
    pub pages: u64,
}

/// Something to be done.
#[derive(Clone, Debug, Serialize)]
pub struct StrategyField {
    /// `protect`, `freeze`, `raise_high`, `revert`, `none`, …
    pub action: &'static str,
    /// Which unit; null if none in particular.
    pub unit: Option<String>,
    /// Bytes; null where there is no amount.
    pub amount: Option<u64>,
    /// In one sentence.
    pub reason: String,
    /// It was carried out.
    pub applied: bool,
    /// Why not.
    pub error: Option<String>,
}
