//! The kernel's counters, summed per unit since the agent started.

use std::{collections::HashMap, sync::Arc, time::Duration};

use memmon_common::event::{StallHistogram, StallKey, SwapOutKey};

use super::{Agent, BLAMED, UNITS, now, verify::Losses};
use crate::{
    attribute::{IdLedger, Ledger, StallLedger},
    config::Priority,
    kernel::programs::Programs,
    policy::MonoTime,
    source::probes::Counters,
};

/// One reading of the counters. What could not be read is `None` and changes nothing.
pub(super) struct Counts {
    /// When the reading began.
    at: MonoTime,
    swap_out: Option<Vec<(SwapOutKey, u64)>>,
    /// `None` also where the kernel does not tell.
    swap_in: Option<Vec<(u64, u64)>>,
    stalls: Option<Vec<(StallKey, StallHistogram)>>,
    losses: Option<Losses>,
}

impl Counts {
    /// Reads them; a map that cannot be read is told. Takes milliseconds where there are many keys: not for the loop.
    pub(super) fn read(counters: &Counters, programs: &Programs) -> Self {
        fn or_told<T>(what: &str, read: Result<T, aya::maps::MapError>) -> Option<T> {
            read.map_err(|error| tracing::error!("reading the counters of {what}: {error}"))
                .ok()
        }
        Self {
            at: now(),
            swap_out: or_told("swap-outs", counters.swap_out()),
            swap_in: or_told("swap-ins", counters.swap_read()).flatten(),
            stalls: or_told("stalls", counters.stalls()),
            losses: or_told("losses", Losses::read(counters, programs)),
        }
    }
}

/// Sums per unit.
pub(super) struct Sums {
    /// Swapped-out pages.
    pub(super) out: Ledger,
    /// Pages read back; `None` where the kernel does not tell.
    pub(super) back: Option<IdLedger>,
    /// Time in reclaim.
    pub(super) stalls: StallLedger,
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
            stalls: StallLedger::new(UNITS),
            critical: HashMap::new(),
        }
    }

    /// Pages of `unit` that went out while it was critical.
    pub(super) fn critical_pages(&self, unit: &str) -> u64 {
        self.critical.get(unit).map_or(0, |critical| critical.pages)
    }

    /// Pages of every unit that lost some while it was critical.
    pub(super) fn critical(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        let all = self
            .critical
            .iter()
            .map(|(unit, critical)| (unit, critical.pages));
        all.filter(|(_, pages)| *pages > 0)
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
    ///
    /// All readings are made on one thread, which sends them in the order in which it made them.
    pub(super) fn count(&mut self, counts: &Counts) {
        let index = &mut self.observer.index;
        let sums = &mut self.sums;
        if let Some(counts) = &counts.swap_out {
            sums.out.apply(counts, index);
        }
        if let (Some(ledger), Some(counts)) = (&mut sums.back, &counts.swap_in) {
            ledger.apply(counts, index);
        }
        if let Some(counts) = &counts.stalls {
            sums.stalls.apply(counts, index);
        }
        let config = &self.config;
        sums.note_critical(|unit| index.priority(config, unit) == Priority::Critical);
        if let Some(losses) = counts.losses {
            self.note_losses(losses);
        }
        self.counted = counts.at;
        self.clear_alarms(counts.at);
    }

    /// Has the sums brought up to date where they are older than `age`.
    pub(super) fn count_if_older(&self, age: Duration) {
        if now().since(self.counted) >= age {
            self.outside.want_counts();
        }
    }
}
