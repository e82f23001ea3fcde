//! The report (`memmon.report/1`) as the screen needs it. Everything that somebody else may have named is cleaned on
//! the way in; a key that is missing is unknown, as in reports of other versions.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::text::Clean;

/// A report.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    pub(super) system: System,
    #[serde(default)]
    pub(super) units: Vec<Unit>,
    pub(super) blame: Option<Vec<Blame>>,
    #[serde(default)]
    pub(super) strategies: Vec<Strategy>,
    #[serde(default)]
    pub(super) attribution: Clean,
    pub(super) agent: Option<Agent>,
    pub(super) alarms: Option<Vec<Alarm>>,
    pub(super) regions: Option<Vec<Region>>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// If it is no JSON, or not a report.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The unit of this name.
    pub(super) fn unit(&self, name: &Clean) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.unit == *name)
    }

    /// The worst alarm of a unit.
    pub(super) fn alarm(&self, unit: &Clean) -> Option<Severity> {
        self.alarms_of(unit).map(|alarm| alarm.severity).max()
    }

    /// The alarms of a unit.
    pub(super) fn alarms_of<'a>(&'a self, unit: &'a Clean) -> impl Iterator<Item = &'a Alarm> {
        self.alarms
            .iter()
            .flatten()
            .filter(move |alarm| alarm.unit == *unit)
    }

    /// All leases.
    pub(super) fn leases(&self) -> usize {
        self.units.iter().map(|unit| unit.leases().len()).sum()
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct System {
    pub(super) ram_used: f64,
    pub(super) swap_used: Option<f64>,
    pub(super) psi: Option<Psi>,
    #[serde(default)]
    pub(super) situation: Clean,
    #[serde(default)]
    pub(super) swap_high: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Psi {
    pub(super) some: PsiLine,
    pub(super) full: PsiLine,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct PsiLine {
    pub(super) avg10: f64,
    pub(super) avg60: f64,
    pub(super) avg300: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Unit {
    pub(super) unit: Clean,
    pub(super) priority: Clean,
    pub(super) cgroup: Option<Clean>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) swap_bytes: Option<u64>,
    pub(super) swapout_pages: Option<u64>,
    pub(super) swapin_pages: Option<u64>,
    pub(super) critical_pages_swapped: Option<u64>,
    pub(super) stall_seconds: Option<f64>,
    pub(super) psi: Option<Psi>,
    /// By the report's name of the limit, in bytes or `max`.
    #[serde(default)]
    pub(super) limits: BTreeMap<String, Option<Limit>>,
    pub(super) leases: Option<Vec<Lease>>,
}

impl Unit {
    pub(super) fn leases(&self) -> &[Lease] {
        self.leases.as_deref().unwrap_or_default()
    }

    pub(super) fn limit(&self, name: &str) -> Option<&Limit> {
        self.limits.get(name)?.as_ref()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Limit {
    Bytes(u64),
    /// `max`.
    Word(Clean),
}

impl Limit {
    pub(super) fn show(&self) -> String {
        match self {
            Self::Bytes(bytes) => super::text::size(*bytes),
            Self::Word(word) => word.as_str().to_owned(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Lease {
    pub(super) property: Clean,
    pub(super) old: Option<Limit>,
    pub(super) new: Limit,
    pub(super) reason: Clean,
    pub(super) deadline: Option<Clean>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Blame {
    pub(super) victim: Clean,
    pub(super) reclaimer: Option<Clean>,
    pub(super) kind: Clean,
    pub(super) pages: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Strategy {
    pub(super) action: Clean,
    pub(super) unit: Option<Clean>,
    pub(super) amount: Option<u64>,
    pub(super) reason: Clean,
    #[serde(default)]
    pub(super) applied: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Agent {
    pub(super) version: Clean,
    pub(super) since: Clean,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) degraded: Vec<Clean>,
    #[serde(default)]
    pub(super) events_lost: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Warning,
    Critical,
}

impl Severity {
    pub(super) fn of(word: &str) -> Self {
        if word == "warning" {
            Self::Warning
        } else {
            Self::Critical
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Alarm {
    pub(super) id: Clean,
    pub(super) unit: Clean,
    pub(super) severity: Severity,
    pub(super) reason: Clean,
    pub(super) since: Clean,
    #[serde(default)]
    pub(super) pages: u64,
    pub(super) region: Option<Clean>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Region {
    pub(super) unit: Clean,
    pub(super) label: Clean,
    pub(super) pid: Option<u32>,
    pub(super) pages: u64,
    pub(super) swapout_pages: Option<u64>,
    pub(super) bring_back: Option<BringBack>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct BringBack {
    pub(super) asked_pages: u64,
    pub(super) back_pages: u64,
    pub(super) still_out_pages: u64,
    pub(super) reason: Option<Clean>,
}
