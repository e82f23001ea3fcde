//! memmon's counters and the kernel's over one stretch of time.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use memmon::{
    decode::VmStat,
    source::{
        probes::{Probes, Totals},
        proc::Proc,
    },
};
use memmon_common::event::SwapOutKey;

use crate::host::wait;

/// All counters at a moment when nothing was being swapped.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    pages: BTreeMap<SwapOutKey, u64>,
    totals: Totals,
    misses: u64,
    vmstat: VmStat,
}

fn reading(probes: &Probes) -> Result<Reading> {
    let proc = Proc::default();
    let once = || -> Result<Reading> {
        proc.refresh_vmstat()?;
        let totals = probes.totals()?;
        let stats = probes.stats();
        let skipped: u64 = stats
            .iter()
            .filter(|program| program.name == "swap_out")
            .map(|program| program.recursion_misses)
            .sum();
        Ok(Reading {
            pages: probes.swap_out()?.into_iter().collect(),
            misses: totals.missed_events(skipped),
            totals,
            vmstat: VmStat::parse(&proc.vmstat()?),
        })
    };
    let mut before = once()?;
    wait::until("swapping pauses", || {
        let now = once()?;
        // Only what the comparison is about: kswapd's naps do not matter.
        let quiet = now.pages == before.pages
            && now.vmstat.nr_vmscan_write == before.vmstat.nr_vmscan_write
            && now.totals.overflow_pages == before.totals.overflow_pages;
        before = now.clone();
        Ok(quiet.then_some(now))
    })
}

/// Whether the kernel may find a program already running on a CPU and leave it out: from 7.0 tracepoints can
/// be preempted. Such events are told, and are the only ones that may be missing: those that every copy of
/// the program missed.
pub(super) fn may_miss() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let major = release
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major >= 7)
}

/// Counts from now on.
pub struct Meter(Reading);

impl Meter {
    /// Remembers where the counters stand.
    ///
    /// # Errors
    /// If they cannot be read, or swapping does not pause.
    pub fn start(probes: &Probes) -> Result<Self> {
        reading(probes).map(Self)
    }

    /// What came since.
    ///
    /// # Errors
    /// If the counters cannot be read, or swapping does not pause.
    pub fn gain(&self, probes: &Probes) -> Result<Gain> {
        let before = &self.0;
        let now = reading(probes)?;
        let mut pages = now.pages;
        for (key, was) in &before.pages {
            if let Some(pages) = pages.get_mut(key) {
                *pages -= was;
            }
        }
        pages.retain(|_, pages| *pages > 0);
        Ok(Gain {
            pages,
            file: now.totals.file_pages - before.totals.file_pages,
            unattributed: now.totals.unattributed_pages - before.totals.unattributed_pages,
            overflow: now.totals.overflow_pages - before.totals.overflow_pages,
            misses: now.misses - before.misses,
            written: now.vmstat.since(&before.vmstat).nr_vmscan_write.unwrap_or(0),
        })
    }

    /// What came since, found to balance.
    ///
    /// # Errors
    /// As [`Self::gain`]; also if nothing was swapped, or memmon and the kernel disagree.
    pub fn balanced(&self, probes: &Probes) -> Result<Gain> {
        let gain = self.gain(probes)?;
        ensure!(gain.written > 0, "nothing was swapped: nothing was compared");
        ensure!(gain.misses == 0 || may_miss(), "{} events missed", gain.misses);
        // A missed event is a page here: the cases that come through here use no large folios.
        ensure!(
            gain.counted() + gain.misses == gain.written,
            "attributed {} + file {} + unattributed {} + overflow {} + missed {} is not nr_vmscan_write {}",
            gain.pages.values().sum::<u64>(),
            gain.file,
            gain.unattributed,
            gain.overflow,
            gain.misses,
            gain.written
        );
        Ok(gain)
    }
}

/// What was swapped out.
#[derive(Clone, Debug)]
pub struct Gain {
    /// Attributed pages.
    pub pages: BTreeMap<SwapOutKey, u64>,
    /// Dirty file pages.
    pub file: u64,
    /// Pages without a readable owner.
    pub unattributed: u64,
    /// Pages without room in the counters.
    pub overflow: u64,
    /// Events that the kernel did not run a program for.
    pub misses: u64,
    /// `nr_vmscan_write`.
    pub written: u64,
}

impl Gain {
    /// Pages that memmon counted, wherever.
    pub fn counted(&self) -> u64 {
        self.pages.values().sum::<u64>() + self.file + self.unattributed + self.overflow
    }

    /// Pages of one owner.
    pub fn of(&self, owner: u64) -> u64 {
        let of_owner = self.pages.iter().filter(|(key, _)| key.owner == owner);
        of_owner.map(|(_, pages)| pages).sum()
    }

    /// Pages of one owner, found to have been taken by `reclaimer` on the occasion `kind` and no other way.
    ///
    /// # Errors
    /// If there are none, or some were taken by somebody else or otherwise.
    pub fn only(&self, owner: u64, reclaimer: u64, kind: u32) -> Result<u64> {
        let pages = self.of(owner);
        ensure!(pages > 0, "no pages of cgroup {owner}, but {:?}", self.pages);
        for key in self.pages.keys().filter(|key| key.owner == owner) {
            ensure!(
                (key.reclaimer, key.kind) == (reclaimer, u64::from(kind)),
                "expected reclaimer {reclaimer} and kind {kind}, found {key:?}"
            );
        }
        Ok(pages)
    }
}
