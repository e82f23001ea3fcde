//! `memmon.report/1`.

use serde::Serialize;

use super::forecast::ForecastField;
use crate::{
    config::Priority,
    decode::{Limit, Pressure},
    policy::{AlarmKind, Situation},
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
    /// The running agent; null if none answered.
    pub agent: Option<AgentField>,
    /// Alarms that are on; null without a running agent.
    pub alarms: Option<Vec<AlarmField>>,
    /// Regions that processes have tagged; null without a running agent.
    pub regions: Option<Vec<RegionField>>,
    /// When RAM, swap and the limits of units will be used up; null if nothing stores history.
    pub forecast: Option<Vec<ForecastField>>,
}

impl ReportDocument {
    /// The document as the user `uid` may see it: process ids are for root and for the processes' own user.
    #[must_use]
    pub fn for_user(&self, uid: u32) -> Self {
        let mut document = self.clone();
        if uid != 0 {
            let others = document
                .regions
                .iter_mut()
                .flatten()
                .filter(|region| region.uid != uid);
            others.for_each(|region| region.pid = None);
        }
        document
    }
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
    /// `memory.pressure`; null where the kernel does not account it.
    pub psi: Option<PsiField>,
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

/// The running agent.
#[derive(Clone, Debug, Serialize)]
pub struct AgentField {
    /// Of memmon.
    pub version: &'static str,
    /// When it started.
    pub since: String,
    /// It changes nothing.
    pub dry_run: bool,
    /// What it lacks, in sentences.
    pub degraded: Vec<String>,
    /// What the programs could not report or count since it started.
    pub events_lost: LostField,
    /// Processes with tags.
    pub tagged_processes: usize,
    /// Ranges that they have tagged.
    pub tagged_ranges: usize,
}

/// What was lost since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LostField {
    /// Records of swap-outs that found no room; their pages are counted.
    pub records: u64,
    /// Pages that found no room in the counters.
    pub overflow_pages: u64,
    /// Pages without a readable owner.
    pub unattributed_pages: u64,
    /// Events that the kernel skipped.
    pub missed_events: u64,
}

/// An alarm that is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmField {
    /// As in the D-Bus signals.
    pub id: String,
    /// What it is about.
    pub kind: AlarmKind,
    /// About which unit; `(host)` is the host.
    pub unit: String,
    /// `warning` or `critical`.
    pub severity: &'static str,
    /// Why, in words.
    pub reason: String,
    /// When it was raised.
    pub since: String,
    /// Pages so far.
    pub pages: u64,
    /// The tagged region that was hit first; null if it is about the unit as a whole.
    pub region: Option<String>,
}

/// A region that a process has tagged: all its ranges with one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionField {
    /// Unit of the process.
    pub unit: String,
    /// What the process calls it.
    pub label: String,
    /// Its process; null if whoever reads this may not know.
    pub pid: Option<u32>,
    /// Pages in it.
    pub pages: u64,
    /// Pages of it that went to swap since it was tagged; null if this kernel cannot tell.
    pub swapout_pages: Option<u64>,
    /// What came of bringing pages of all regions of the process back; null if none had to be.
    pub bring_back: Option<BringBackField>,
    /// User of the process: decides who may know its pid.
    #[serde(skip)]
    pub uid: u32,
}

/// The last try to bring pages of a process back from swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BringBackField {
    /// Pages of its regions that were in swap.
    pub asked_pages: u64,
    /// Of those, pages that came back.
    pub back_pages: u64,
    /// Pages of its regions that were in swap afterwards.
    pub still_out_pages: u64,
    /// Why that is not none; null if it is.
    pub reason: Option<String>,
}
