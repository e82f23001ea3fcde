//! What `memmon trace --json` printed, and what can be concluded from it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// A line `memmon.swap_out/1`, as far as cases look at it.
#[derive(Clone, Debug, Deserialize)]
pub struct SwapOut {
    /// When, RFC 3339 in UTC with a fixed number of digits: sorts as text.
    pub ts: String,
    /// The owner's unit.
    pub unit: String,
    /// The owner's cgroup.
    pub cgroup: Option<String>,
    /// The owner's cgroup id.
    pub cgroup_id: u64,
    /// How many pages.
    pub pages: u64,
    /// The unit's priority.
    pub priority: String,
    /// Who pushed it out.
    pub reclaimer: Reclaimer,
    /// Where it was, if that is known.
    pub page: Option<Page>,
}

/// The page of a [`SwapOut`].
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Hexadecimal.
    pub address: String,
    /// What is mapped there.
    pub mapping: Option<String>,
    /// What the process calls the region it is in.
    pub region: Option<String>,
    /// Seen, not derived.
    pub exact: bool,
}

impl Page {
    /// The address as a number.
    ///
    /// # Errors
    /// If it is none.
    pub fn address(&self) -> Result<u64> {
        let digits = self.address.strip_prefix("0x").context("an address without 0x")?;
        u64::from_str_radix(digits, 16).with_context(|| format!("the address {}", self.address))
    }
}

/// The reclaimer of a [`SwapOut`].
#[derive(Clone, Debug, Deserialize)]
pub struct Reclaimer {
    /// `kswapd`, `direct`, …
    pub kind: String,
    /// The culprit's unit.
    pub unit: Option<String>,
    /// The process that did the work.
    pub pid: u32,
    /// Its name.
    pub comm: String,
}

/// The last line, `memmon.trace_end/1`.
#[derive(Clone, Debug, Deserialize)]
pub struct End {
    /// Pages counted, shown or not.
    pub pages: u64,
    /// Dirty file pages at the tracepoint.
    pub file_pages: u64,
    /// Records that did not get through.
    pub lost_events: u64,
    /// Pages of the lines.
    pub shown_pages: u64,
    /// Pages whose owner could not be read.
    pub unattributed_pages: u64,
    /// Pages without room in the counters.
    pub overflow_pages: u64,
    /// Runs the kernel skipped.
    pub recursion_misses: u64,
    /// What the kernel counted.
    pub ledger: Ledger,
}

/// The kernel's counters, as far as it has them, and our second count.
#[derive(Clone, Debug, Deserialize)]
pub struct Ledger {
    /// `nr_vmscan_write`.
    pub write_folio: Option<u64>,
    /// `pswpout`.
    pub pswpout: Option<u64>,
    /// `zswpout`.
    pub zswpout: Option<u64>,
    /// `swpout_zero`.
    pub zero: Option<u64>,
    /// `zswpwb`.
    pub zswpwb: Option<u64>,
    /// Pages seen at `__swap_writepage`.
    pub swap_write: Option<u64>,
}

#[derive(Deserialize)]
#[serde(tag = "schema")]
enum Line {
    #[serde(rename = "memmon.swap_out/1")]
    SwapOut(SwapOut),
    #[serde(rename = "memmon.trace_end/1")]
    End(End),
}

/// Owner's unit, kind of reclaim, reclaimer's unit.
pub type Blame = (String, String, Option<String>);

/// A trace's lines, and its end if it has come.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// In the order they were printed.
    pub lines: Vec<SwapOut>,
    end: Option<End>,
}

impl Stream {
    /// Takes over one line.
    ///
    /// # Errors
    /// If it is no line of a trace, or comes after the end.
    pub fn take(&mut self, text: &str) -> Result<()> {
        let line = serde_json::from_str(text).with_context(|| format!("a line of the trace: {text}"))?;
        ensure!(self.end.is_none(), "after the end of the trace: {text}");
        match line {
            Line::SwapOut(line) => self.lines.push(line),
            Line::End(end) => self.end = Some(end),
        }
        Ok(())
    }

    /// The end.
    ///
    /// # Errors
    /// If it has not come.
    pub fn end(&self) -> Result<&End> {
        self.end.as_ref().context("the trace has no end")
    }

    /// Checks what must hold for every trace, whatever it shows: no record lost, the pages counted with the
    /// file pages are the kernel's `nr_vmscan_write`, that differs from `pswpout` by nothing but zswap and
    /// zero pages, and our second count is `pswpout`. Returns the pages.
    ///
    /// # Errors
    /// If one of these does not hold, or there was nothing to compare.
    pub fn balanced(&self) -> Result<u64> {
        let (pages, dropped) = self.counted()?;
        ensure!(
            dropped == 0,
            "the ledgers differ by {dropped} pages more than zswap and zero pages: {:?}",
            self.end()?
        );
        Ok(pages)
    }

    /// As [`Stream::balanced`], where processes end while their pages are on the way out: of a page that nobody wants
    /// any more the kernel drops the swap slot instead of writing to it (`swap_writepage`), which it counts as
    /// written by reclaim and nowhere else. Returns the pages, and how many of them were dropped so.
    ///
    /// # Errors
    /// As [`Stream::balanced`], but for that.
    pub fn counted(&self) -> Result<(u64, u64)> {
        let end = self.end()?;
        let Ledger {
            write_folio,
            pswpout,
            zswpout,
            zero,
            zswpwb,
            swap_write,
        } = end.ledger;
        let lines: u64 = self.lines.iter().map(|line| line.pages).sum();
        ensure!(lines == end.shown_pages, "lines of {lines} pages, but {end:?}");
        ensure!(
            end.lost_events == 0 && end.recursion_misses == 0,
            "records were lost: {end:?}"
        );
        let (Some(write_folio), Some(pswpout)) = (write_folio, pswpout) else {
            bail!("the ledger lacks what every kernel has: {end:?}");
        };
        ensure!(end.pages > 0, "nothing was swapped, nothing compared: {end:?}");
        ensure!(
            end.pages + end.file_pages == write_folio,
            "pages and file pages are not nr_vmscan_write: {end:?}"
        );
        // kernel.md §1, with the term that is subtracted on the other side.
        let or_none = |counter: Option<u64>| counter.unwrap_or(0);
        let stored = pswpout + or_none(zswpout) + or_none(zero);
        let dropped = (end.pages + or_none(zswpwb)).checked_sub(stored);
        let dropped = dropped.with_context(|| format!("more was stored than went out: {end:?}"))?;
        ensure!(
            swap_write.is_none_or(|pages| pages == pswpout),
            "the second ledger is not pswpout: {end:?}"
        );
        Ok((end.pages, dropped))
    }

    /// As [`Stream::balanced`] (which [`super::tracer::Tracer::finish`] has checked): every page also has a
    /// line with an owner.
    ///
    /// # Errors
    /// If some page has none.
    pub fn complete(&self) -> Result<u64> {
        let end = self.end()?;
        ensure!(
            end.unattributed_pages == 0 && end.shown_pages == end.pages,
            "not every page has a line: {end:?}"
        );
        Ok(end.pages)
    }

    /// The lines of one unit's pages.
    pub fn of<'a>(&'a self, unit: &'a str) -> impl Iterator<Item = &'a SwapOut> {
        self.lines.iter().filter(move |line| line.unit == unit)
    }

    /// Pages of one unit.
    pub fn pages(&self, unit: &str) -> u64 {
        self.of(unit).map(|line| line.pages).sum()
    }

    /// Pages of one unit, all of which were pushed out on the occasion `kind`.
    ///
    /// # Errors
    /// If there are none, or some were pushed out on another.
    pub fn only_kind(&self, unit: &str, kind: &str) -> Result<u64> {
        for line in self.of(unit) {
            ensure!(line.reclaimer.kind == kind, "expected kind {kind}: {line:?}");
        }
        let pages = self.pages(unit);
        ensure!(pages > 0, "no pages of {unit}; there are {:?}", self.blame());
        Ok(pages)
    }

    /// As [`Stream::only_kind`], all of them by `reclaimer`.
    ///
    /// # Errors
    /// If there are none, or some were pushed out otherwise or by somebody else.
    pub fn only(&self, unit: &str, kind: &str, reclaimer: &str) -> Result<u64> {
        for line in self.of(unit) {
            ensure!(
                line.reclaimer.unit.as_deref() == Some(reclaimer),
                "expected {reclaimer}: {line:?}"
            );
        }
        self.only_kind(unit, kind)
    }

    /// Who pushed out how many pages of whom, and how.
    pub fn blame(&self) -> BTreeMap<Blame, u64> {
        let mut sums = BTreeMap::new();
        for line in &self.lines {
            let Reclaimer { kind, unit, .. } = &line.reclaimer;
            let key = (line.unit.clone(), kind.clone(), unit.clone());
            *sums.entry(key).or_default() += line.pages;
        }
        sums
    }

    /// Checks that these units were swapped out at the same time: each began before any other was done.
    ///
    /// # Errors
    /// If one was done before another began.
    pub fn at_once(&self, units: &[&str]) -> Result<()> {
        let mut spans = Vec::new();
        for unit in units {
            let times = || self.of(unit).map(|line| &line.ts);
            let span = times().min().zip(times().max());
            spans.push(span.with_context(|| format!("no pages of {unit}"))?);
        }
        let last_start = spans.iter().map(|(start, _)| start).max();
        let first_end = spans.iter().map(|(_, end)| end).min();
        ensure!(
            last_start < first_end,
            "{units:?} were swapped one after the other: one began at {last_start:?}, one was done at {first_end:?}"
        );
        Ok(())
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
