//! `memmon.swap_out/1` and `memmon.trace_end/1`.

use serde::Serialize;

use crate::{attribute::Attributed, config::Priority, decode::rfc3339};

/// One swap-out, or several consecutive ones of the same owner and reclaimer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwapOutLine {
    /// `memmon.swap_out/1`.
    pub schema: &'static str,
    /// When the (first) page went out, RFC 3339 with microseconds.
    pub ts: String,
    /// The owner's unit.
    pub unit: String,
    /// The owner's cgroup; null if it was gone before it could be named.
    pub cgroup: Option<String>,
    /// Cgroup id.
    pub cgroup_id: u64,
    /// Pages.
    pub pages: u64,
    /// Priority of the unit.
    pub priority: Priority,
    /// Who pushed it out.
    pub reclaimer: ReclaimerField,
    /// Process, address and region, if known.
    pub page: Option<PageField>,
}

/// Who pushed a page out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReclaimerField {
    /// `reclaimer.kind` of the contract.
    pub kind: &'static str,
    /// The culprit's unit; null for kswapd and if unknown.
    pub unit: Option<String>,
    /// Process that did the work.
    pub pid: u32,
    /// Its name.
    pub comm: String,
}

/// Where in its process a page was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageField {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Virtual address, hexadecimal.
    pub address: String,
    /// What is mapped there.
    pub mapping: Option<String>,
    /// Tag of the region.
    pub region: Option<String>,
    /// Whether the address is certain.
    pub exact: bool,
}

impl SwapOutLine {
    /// From an attributed event; `offset_ns` is `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`.
    pub fn new(event: &Attributed, offset_ns: i128) -> Self {
        Self {
            schema: "memmon.swap_out/1",
            ts: rfc3339(event.ts_ns, offset_ns),
            unit: event.unit().to_owned(),
            cgroup: event
                .owner
                .as_ref()
                .and_then(|owner| owner.path.as_deref().map(str::to_owned)),
            cgroup_id: event.cgroup_id,
            pages: event.pages,
            priority: event.priority,
            reclaimer: ReclaimerField {
                kind: event.reclaimer.kind.as_str(),
                unit: event.reclaimer.unit.as_deref().map(str::to_owned),
                pid: event.reclaimer.pid,
                comm: event.reclaimer.comm.clone(),
            },
            page: None,
        }
    }
}

/// The last line of a stream: what all lines together must add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TraceEnd {
    /// `memmon.trace_end/1`.
    pub schema: &'static str,
    /// Anonymous and shared-memory pages that went out while the trace ran, of all units, shown or not.
    pub pages: u64,
    /// Dirty file pages written by reclaim meanwhile (before 6.16), which the ledger counts as well.
    pub file_pages: u64,
    /// Records lost: the pages are in `pages` all the same.
    pub lost_events: u64,
    /// Sum of the pages of the lines that were shown.
    pub shown_pages: u64,
    /// Pages among `pages` whose owner could not be read.
    pub unattributed_pages: u64,
    /// Pages among `pages` that found no room in the counters, and so have no owner.
    pub overflow_pages: u64,
    /// Events the kernel did not run the program for: their pages are missing from `pages`.
    pub recursion_misses: u64,
    /// `exact` or `approximate`: how process and address were found; null without `--pages`, and where this
    /// kernel allows neither.
    pub page_level: Option<&'static str>,
    /// The kernel's own counters over the same time.
    pub ledger: LedgerField,
}

/// Deltas of `/proc/vmstat`; null where this kernel has no such counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerField {
    /// `nr_vmscan_write`: what the tracepoint must add up to.
    pub write_folio: Option<u64>,
    /// `pswpout`: written to a swap device.
    pub pswpout: Option<u64>,
    /// `zswpout`: kept compressed by zswap.
    pub zswpout: Option<u64>,
    /// `swpout_zero`: zero-filled, not written at all.
    pub zero: Option<u64>,
    /// `zswpwb`: written from zswap to the device, which no tracepoint tells.
    pub zswpwb: Option<u64>,
    /// Pages memmon saw at `__swap_writepage`; null where that hook is not attached, or the
    /// kernel skipped it for some events.
    pub swap_write: Option<u64>,
}
