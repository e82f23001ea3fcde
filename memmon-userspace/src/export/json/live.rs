//! `memmon.live/1`: what the web page is told each second. A report without processes, addresses, paths and
//! proposals, and bounded in size whatever the host runs.

use serde::Serialize;

use super::report::{
    AgentField, AlarmField, BlameField, LeaseField, LimitsField, PsiLine, ReportDocument, SystemField,
    UnitField,
};
use crate::config::Priority;

/// Units, those that matter or swap most.
const UNITS: usize = 200;
/// Pairs of victim and culprit, those with most pages.
const BLAME: usize = 50;
/// Alarms.
const ALARMS: usize = 100;
/// Tagged regions.
const REGIONS: usize = 100;

/// The agent at one moment.
#[derive(Debug, Serialize)]
pub struct LiveDocument<'a> {
    /// `memmon.live/1`.
    pub schema: &'static str,
    /// The running agent.
    pub agent: Option<&'a AgentField>,
    /// `exact`, `degraded` or `unverified`.
    pub attribution: &'static str,
    /// The host.
    pub system: LiveSystem<'a>,
    /// Bytes in a page.
    pub page_bytes: u64,
    /// How many units there are; `units` may be fewer.
    pub units_total: usize,
    /// Those that matter or swap most.
    pub units: Vec<LiveUnit<'a>>,
    /// Alarms that are on.
    pub alarms: &'a [AlarmField],
    /// How many; `alarms` may be fewer.
    pub alarms_total: usize,
    /// Who pushed out whose pages, most first.
    pub blame: &'a [BlameField],
    /// Tagged regions, all processes of a unit and label together.
    pub regions: Vec<LiveRegion<'a>>,
}

/// The host.
#[derive(Debug, Serialize)]
pub struct LiveSystem<'a> {
    /// `(MemTotal − MemAvailable) / MemTotal`.
    pub ram_used: f64,
    /// Share of swap in use; null without swap.
    pub swap_used: Option<f64>,
    /// Some tasks waited for memory; null if the kernel does not say.
    pub psi_some: Option<&'a PsiLine>,
    /// All tasks did.
    pub psi_full: Option<&'a PsiLine>,
    /// `normal`, `high` or `critical`.
    pub situation: crate::policy::Situation,
    /// `swap_used` has reached its threshold.
    pub swap_high: bool,
}

/// A unit; null is what is not known.
#[derive(Debug, Serialize)]
pub struct LiveUnit<'a> {
    /// Name.
    pub unit: &'a str,
    /// Effective priority.
    pub priority: Priority,
    /// `memory.current`.
    pub memory_bytes: Option<u64>,
    /// `memory.swap.current`.
    pub swap_bytes: Option<u64>,
    /// Pages swapped out since the agent started.
    pub swapout_pages: Option<u64>,
    /// Pages read back.
    pub swapin_pages: Option<u64>,
    /// Pages swapped out while it was critical.
    pub critical_pages_swapped: Option<u64>,
    /// Time its tasks were stalled in reclaim.
    pub stall_seconds: Option<f64>,
    /// `memory.max` and others.
    pub limits: &'a LimitsField,
    /// Leases on them; null if they cannot be told.
    pub leases: Option<&'a [LeaseField]>,
}

/// A region.
#[derive(Debug, Serialize)]
pub struct LiveRegion<'a> {
    /// Unit of its processes.
    pub unit: &'a str,
    /// What they call it.
    pub label: &'a str,
    /// Pages in it.
    pub pages: u64,
    /// Pages of it that went to swap; null if this kernel cannot tell.
    pub swapout_pages: Option<u64>,
}

impl<'a> From<&'a ReportDocument> for LiveDocument<'a> {
    fn from(report: &'a ReportDocument) -> Self {
        let alarms = report.alarms.as_deref().unwrap_or_default();
        let blame = report.blame.as_deref().unwrap_or_default();
        Self {
            schema: "memmon.live/1",
            agent: report.agent.as_ref(),
            attribution: report.attribution,
            system: LiveSystem::from(&report.system),
            page_bytes: rustix::param::page_size() as u64,
            units_total: report.units.len(),
            units: units(report),
            alarms: &alarms[..alarms.len().min(ALARMS)],
            alarms_total: alarms.len(),
            blame: &blame[..blame.len().min(BLAME)],
            regions: regions(report),
        }
    }
}

impl<'a> From<&'a SystemField> for LiveSystem<'a> {
    fn from(system: &'a SystemField) -> Self {
        Self {
            ram_used: system.ram_used,
            swap_used: system.swap_used,
            psi_some: system.psi.as_ref().map(|psi| &psi.some),
            psi_full: system.psi.as_ref().map(|psi| &psi.full),
            situation: system.situation,
            swap_high: system.swap_high,
        }
    }
}

fn units(report: &ReportDocument) -> Vec<LiveUnit<'_>> {
    let mut units: Vec<&UnitField> = report.units.iter().collect();
    let leased = |unit: &UnitField| unit.leases.as_ref().is_some_and(|leases| !leases.is_empty());
    let weight = |unit: &UnitField| {
        (
            leased(unit),
            unit.priority,
            unit.swap_bytes,
            unit.swapout_pages,
            unit.memory_bytes,
        )
    };
    units.sort_by(|a, b| (weight(b), &a.unit).cmp(&(weight(a), &b.unit)));
    units.into_iter().take(UNITS).map(LiveUnit::from).collect()
}

impl<'a> From<&'a UnitField> for LiveUnit<'a> {
    fn from(unit: &'a UnitField) -> Self {
        Self {
            unit: &unit.unit,
            priority: unit.priority,
            memory_bytes: unit.memory_bytes,
            swap_bytes: unit.swap_bytes,
            swapout_pages: unit.swapout_pages,
            swapin_pages: unit.swapin_pages,
            critical_pages_swapped: unit.critical_pages_swapped,
            stall_seconds: unit.stall_seconds,
            limits: &unit.limits,
            leases: unit.leases.as_deref(),
        }
    }
}

/// In the order of the report: regions of one unit and label stand together.
fn regions(report: &ReportDocument) -> Vec<LiveRegion<'_>> {
    let all = report.regions.as_deref().unwrap_or_default();
    all.chunk_by(|a, b| (&a.unit, &a.label) == (&b.unit, &b.label))
        .take(REGIONS)
        .map(|same| LiveRegion {
            unit: &same[0].unit,
            label: &same[0].label,
            pages: same.iter().map(|region| region.pages).sum(),
            swapout_pages: same.iter().map(|region| region.swapout_pages).sum(),
        })
        .collect()
}
