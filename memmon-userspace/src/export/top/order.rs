//! Which units are shown, and in which order.

use std::cmp::Ordering;

use super::{
    document::{Report, Unit},
    rates::{Rate, Rates},
};

/// By what units are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Units with alarms, then swap-outs per second.
    #[default]
    Alarms,
    Out,
    Back,
    Swap,
    Memory,
    Psi,
    Priority,
    Name,
}

impl Sort {
    const ALL: [Self; 8] = [
        Self::Alarms,
        Self::Out,
        Self::Back,
        Self::Swap,
        Self::Memory,
        Self::Psi,
        Self::Priority,
        Self::Name,
    ];

    /// The one behind this one.
    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Alarms => "alarms, swap-outs",
            Self::Out => "swap-outs",
            Self::Back => "swap-ins",
            Self::Swap => "swap",
            Self::Memory => "memory",
            Self::Psi => "PSI",
            Self::Priority => "priority",
            Self::Name => "name",
        }
    }
}

/// Whether `filter` is in one of `texts`; case does not matter.
pub(super) fn passes(filter: &str, texts: &[&str]) -> bool {
    let filter = filter.to_lowercase();
    texts.iter().any(|text| text.to_lowercase().contains(&filter))
}

/// The units that pass the filter, in order.
pub(super) fn units<'a>(
    report: &'a Report,
    rates: &Rates,
    filter: &str,
    sort: Sort,
    reverse: bool,
) -> Vec<&'a Unit> {
    let mut units: Vec<&Unit> = report
        .units
        .iter()
        .filter(|unit| passes(filter, &[unit.unit.as_str(), unit.priority.as_str()]))
        .collect();
    let out = |unit: &Unit| rates.unit(&unit.unit).map_or(Rate::Unknown, |rates| rates.out);
    let back = |unit: &Unit| rates.unit(&unit.unit).map_or(Rate::Unknown, |rates| rates.back);
    let psi = |unit: &Unit| unit.psi.map(|psi| psi.some.avg10);
    units.sort_by(|a, b| {
        let order = match sort {
            Sort::Alarms => report
                .alarm(&b.unit)
                .cmp(&report.alarm(&a.unit))
                .then_with(|| most_first(out(a).value(), out(b).value())),
            Sort::Out => most_first(out(a).value(), out(b).value()),
            Sort::Back => most_first(back(a).value(), back(b).value()),
            Sort::Swap => b.swap_bytes.cmp(&a.swap_bytes),
            Sort::Memory => b.memory_bytes.cmp(&a.memory_bytes),
            Sort::Psi => most_first(psi(a), psi(b)),
            Sort::Priority => rank(b).cmp(&rank(a)),
            Sort::Name => a.unit.cmp(&b.unit),
        };
        let order = if reverse { order.reverse() } else { order };
        // Equal ones do not change places with each report.
        order
            .then_with(|| b.swap_bytes.cmp(&a.swap_bytes))
            .then_with(|| b.memory_bytes.cmp(&a.memory_bytes))
            .then_with(|| a.unit.cmp(&b.unit))
    });
    units
}

/// What is not known comes last.
fn most_first(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn rank(unit: &Unit) -> usize {
    ["observe", "low", "medium", "high", "critical"]
        .iter()
        .position(|name| *name == unit.priority.as_str())
        .map_or(0, |at| at + 1)
}
