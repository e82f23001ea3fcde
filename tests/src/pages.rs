//! Page-level programs of a test's own, and what they tell against the page tables' own word.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use aya::maps::{MapData, RingBuf};
use memmon::{
    decode::{PageEvent, PageOut, decode_page},
    kernel::plan::pages::PageLevel,
    source::pages::{PageOptions, PageProbes},
};

use crate::{guest::pagemap, workload::Range};

/// Large enough for every page of a case.
const RING_BYTES: u32 = 8 << 20;
/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Attached programs, and what they have told.
pub struct Watch {
    /// The programs.
    pub probes: PageProbes,
    ring: RingBuf<MapData>,
    told: Vec<PageOut>,
    gone: Vec<(u32, u32)>,
}

impl Watch {
    /// Attaches the programs: for every page, or for tagged ones only.
    ///
    /// # Errors
    /// If this kernel allows none.
    pub fn open(memory_hierarchy: u32, all: bool) -> Result<Self> {
        let mut options = PageOptions {
            all,
            memory_hierarchy,
            ..PageOptions::default()
        };
        options.sizes.pages = Some(RING_BYTES);
        let (probes, ring) = PageProbes::open(options)?;
        Ok(Self {
            probes,
            ring,
            told: Vec::new(),
            gone: Vec::new(),
        })
    }

    /// Whether process and address are certain.
    pub const fn exact(&self) -> bool {
        matches!(self.probes.level(), PageLevel::Exact)
    }

    /// Everything told so far.
    ///
    /// # Errors
    /// If a record is not what the contract says, or some were lost.
    pub fn pages(&mut self) -> Result<&[PageOut]> {
        while let Some(record) = self.ring.next() {
            match decode_page(&record)? {
                PageEvent::Page(page) => self.told.push(page),
                PageEvent::TagsGone { tgid, generation } => self.gone.push((tgid, generation)),
            }
        }
        let totals = self.probes.totals()?;
        ensure!(totals.ring_drops == 0, "records were lost: {totals:?}");
        Ok(&self.told)
    }

    /// Processes whose tags have ended, and which of their sets those were.
    ///
    /// # Errors
    /// As [`Self::pages`].
    pub fn gone(&mut self) -> Result<&[(u32, u32)]> {
        self.pages()?;
        Ok(&self.gone)
    }

    /// The addresses told of a process within `range`, page by page.
    ///
    /// # Errors
    /// As [`Self::pages`].
    pub fn addresses(&mut self, pid: u32, range: Range) -> Result<BTreeSet<u64>> {
        let within = range.start..range.start + range.length;
        let of_process = self.pages()?.iter().filter(|page| page.process.tgid == pid);
        Ok(of_process
            .flat_map(|page| (0..page.pages).map(|index| page.address + index * PAGE))
            .filter(|address| within.contains(address))
            .collect())
    }

    /// Compares what was told of a process within `range` with its page table, both ways. Holds for a process
    /// that has not touched the range since. How many pages that were.
    ///
    /// # Errors
    /// If fewer than `least` are in swap, or some were missed or invented.
    pub fn same_set(&mut self, pid: u32, range: Range, least: u64) -> Result<u64> {
        let (out, missed, invented) = self.compared(pid, range)?;
        ensure!(out >= least, "only {out} pages of process {pid} are in swap");
        ensure!(
            missed == 0 && invented == 0,
            "process {pid}: {out} pages in swap, {missed} of them not told, {invented} told that are not; {:?}",
            self.probes.totals()?
        );
        Ok(out)
    }

    /// Pages of a process within `range` that are in swap; those of them that were not told; those told that are not in
    /// swap.
    ///
    /// # Errors
    /// If the process is gone; and as [`Self::pages`].
    pub fn compared(&mut self, pid: u32, range: Range) -> Result<(u64, u64, u64)> {
        let out: BTreeSet<u64> = pagemap::swapped(pid, range)?.into_iter().collect();
        let told = self.addresses(pid, range)?;
        Ok((
            out.len() as u64,
            out.difference(&told).count() as u64,
            told.difference(&out).count() as u64,
        ))
    }
}
