//! Records of the page-level ring, and the mapping an address lies in.

use memmon_common::{
    event::{EventHeader, event_kind},
    page::{PageRecord, TagsGone, page_flag},
};

use super::event::{DecodeError, Reclaimer, comm, read, reclaimer};

/// A decoded record of the page-level ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageEvent {
    /// A page of a process went to swap.
    Page(PageOut),
    /// A tagged process ended or began another program; its tags are gone from the kernel's side.
    TagsGone {
        /// Process id.
        tgid: u32,
        /// Which of its sets of tags.
        generation: u32,
    },
}

/// A page of a process went to swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOut {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ts_ns: u64,
    /// Cgroup id that the page is charged to.
    pub owner: u64,
    /// Who pushed it out.
    pub reclaimer: Reclaimer,
    /// The process it belonged to.
    pub process: ProcessId,
    /// Name of that process.
    pub comm: String,
    /// Virtual address of the (first) page.
    pub address: u64,
    /// Consecutive pages from there; more than 1 only if not `exact`.
    pub pages: u64,
    /// Number of the tagged region; `None` if it is not in one.
    pub label: Option<u32>,
    /// Process and address were seen, not derived after the fact.
    pub exact: bool,
    /// Pages of the same region since its previous record that were only counted.
    pub suppressed_pages: u64,
    /// Which folio: for comparison with [`super::SwapOut::folio`] only.
    pub folio: u64,
}

/// A process for ever: its id may be given to another one, but not with the same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Process id.
    pub tgid: u32,
    /// When it started, nanoseconds since boot (`CLOCK_BOOTTIME`); field 22 of `/proc/PID/stat` is this in ticks.
    pub start_ns: u64,
}

impl ProcessId {
    /// When it started, in clock ticks since boot, as `/proc` tells it.
    pub fn started(self, ticks_per_second: u64) -> u64 {
        let ticks = u128::from(self.start_ns) * u128::from(ticks_per_second) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

/// Decodes one record of the page-level ring.
///
/// # Errors
/// If the record is shorter than its kind needs, or a number in it is unknown.
pub fn decode_page(bytes: &[u8]) -> Result<PageEvent, DecodeError> {
    let header: EventHeader = read("header", bytes)?;
    match header.kind {
        event_kind::PAGE => page(&read("page record", bytes)?),
        event_kind::TAGS_GONE => {
            let gone: TagsGone = read("record of tags gone", bytes)?;
            Ok(PageEvent::TagsGone {
                tgid: gone.tgid,
                generation: gone.generation,
            })
        }
        other => Err(DecodeError::Unknown {
            what: "record kind",
            value: other.into(),
        }),
    }
}

fn page(raw: &PageRecord) -> Result<PageEvent, DecodeError> {
    Ok(PageEvent::Page(PageOut {
        ts_ns: raw.header.ts_ns,
        owner: raw.owner,
        reclaimer: reclaimer(
            raw.reclaim_kind,
            raw.reclaimer,
            raw.reclaimer_tgid,
            &raw.reclaimer_comm,
        )?,
        process: ProcessId {
            tgid: raw.tgid,
            start_ns: raw.start_ns,
        },
        comm: comm(&raw.comm),
        address: raw.address,
        pages: raw.pages.into(),
        label: (raw.label != 0).then_some(raw.label),
        exact: raw.flags & page_flag::EXACT != 0,
        suppressed_pages: raw.suppressed_pages,
        folio: raw.folio,
    }))
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
