//! The kernel's counters, summed per unit since the agent started.

use std::{collections::HashMap, sync::Arc};

use memmon_common::event::SwapOutKey;

use super::{Agent, BLAMED, UNITS};
use crate::{
    attribute::{IdLedger, Ledger},
    config::Priority,
    source::probes::Counters,
};

/// One reading of the counters.
pub(super) struct Counts {
    swap_out: Vec<(SwapOutKey, u64)>,
    /// `None` where the kernel does not tell.
    swap_in: Option<Vec<(u64, u64)>>,
    /// Nanoseconds.
    stalls: Vec<(u64, u64)>,
}

impl Counts {
    /// Reads them; a map that cannot be read is told and counts as unchanged.
    pub(super) fn read(counters: &Counters) -> Self {
        fn or_told<T: Default>(what: &str, read: Result<T, aya::maps::MapError>) -> T {
            read.unwrap_or_else(|error| {
                tracing::error!("reading the counters of {what}: {error}");
                T::default()
            })
        }
        let mut stalls: HashMap<u64, u64> = HashMap::new();
        for (key, histogram) in or_told("stalls", counters.stalls()) {
            *stalls.entry(key.cgroup).or_default() += histogram.sum_ns;
        }
        Self {
            swap_out: or_told("swap-outs", counters.swap_out()),
            swap_in: or_told("swap-ins", counters.swap_read()),
            stalls: stalls.into_iter().collect(),
        }
    }
}

/// Sums per unit.
pub(super) struct Sums {
    /// Swapped-out pages.
    pub(super) out: Ledger,
    /// Pages read back; `None` where the kernel does not tell.
    pub(super) back: Option<IdLedger>,
    /// Nanoseconds in reclaim.
    pub(super) stalls: IdLedger,
    critical: HashMap<Arc<str>, Critical>,
}

/// Pages that went out while the unit was critical.
#[derive(Clone, Copy, Debug, Default)]
struct Critical {
    /// All pages of the unit at the last reading.
    seen: u64,
    pages: u64,
}

impl Sums {
    pub(super) fn new(tells_swap_in: bool) -> Self {
        Self {
            out: Ledger::new(UNITS, BLAMED),
            back: tells_swap_in.then(|| IdLedger::new(UNITS)),
            stalls: IdLedger::new(UNITS),
            critical: HashMap::new(),
        }
    }

    /// Pages of `unit` that went out while it was critical.
    pub(super) fn critical_pages(&self, unit: &str) -> u64 {
        self.critical.get(unit).map_or(0, |critical| critical.pages)
    }

    fn note_critical(&mut self, is_critical: impl Fn(&str) -> bool) {
        let mut totals: HashMap<&Arc<str>, u64> = HashMap::new();
        for (unit, _, pages) in self.out.by_kind() {
            *totals.entry(unit).or_default() += pages;
        }
        for (unit, total) in totals {
            let critical = self.critical.entry(Arc::clone(unit)).or_default();
            if is_critical(unit) {
                critical.pages += total - critical.seen;
            }
            critical.seen = total;
        }
    }
}

impl Agent {
    /// Takes a reading over. What went out since the last one is booked under the priorities of now, so read before
    /// they change.
    pub(super) fn count(&mut self, counts: &Counts) {
        let index = &mut self.observer.index;
        let sums = &mut self.sums;
        sums.out.apply(&counts.swap_out, index);
        if let (Some(ledger), Some(counts)) = (&mut sums.back, &counts.swap_in) {
            ledger.apply(counts, index);
        }
        sums.stalls.apply(&counts.stalls, index);
        let config = &self.config;
        sums.note_critical(|unit| index.priority(config, unit) == Priority::Critical);
    }

    /// Brings the sums up to date.
    pub(super) fn read_counters(&mut self) {
        let counts = Counts::read(self.observer.probes.counters());
        self.count(&counts);
    }
}
