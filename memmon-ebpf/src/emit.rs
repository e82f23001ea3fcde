//! Records for the agent: rare, bounded, and counted when there is no room.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_comm, bpf_ktime_get_ns},
};
use memmon_common::{
    event::{CriticalState, EventHeader, SwapOutEvent, event_kind, total},
    offsets::FILTER_BITS,
};

use crate::{
    kread::Culprit,
    maps::{CRIT_FILTER, CRITICAL, EVENTS, count, setting},
};

/// Whether a record is due for a page of `owner`, and how many pages went without one since the last.
///
/// One lookup for an ordinary cgroup; a critical one gets its first page after a quiet interval through at
/// once and then at most one record per interval, so that a storm costs counters only.
#[inline(always)]
pub(crate) fn due(owner: u64, pages: u64, now: &mut u64) -> Option<u64> {
    if setting!(emit_all) != 0 {
        // SAFETY: no arguments.
        *now = unsafe { bpf_ktime_get_ns() };
        return Some(0);
    }
    if !maybe_critical(owner) {
        return None;
    }
    let state = CRITICAL.get_ptr_mut(owner)?;
    // SAFETY: no arguments.
    *now = unsafe { bpf_ktime_get_ns() };
    let interval = setting!(critical_interval_ns);
    // SAFETY: map memory stays valid while the program runs. Two CPUs may both find a record due: then
    // there are two, which is harmless; the counters do not depend on this state.
    unsafe {
        let last = (*state).last_ns;
        if last != 0 && now.wrapping_sub(last) < interval {
            (*state).suppressed_pages = (*state).suppressed_pages.wrapping_add(pages);
            return None;
        }
        let suppressed = (*state).suppressed_pages;
        *state = CriticalState {
            last_ns: *now,
            suppressed_pages: 0,
        };
        Some(suppressed)
    }
}

/// A record found no room: the next page of the cgroup tries again at once, and brings these pages along.
#[inline(always)]
fn unsent(owner: u64, pages: u64) {
    if let Some(state) = CRITICAL.get_ptr_mut(owner) {
        // SAFETY: as in `due`.
        unsafe {
            (*state).suppressed_pages = (*state).suppressed_pages.wrapping_add(pages);
            (*state).last_ns = 0;
        }
    }
}

/// One bit per id: `false` is certain, `true` needs the map.
#[inline(always)]
pub(crate) fn maybe_critical(cgroup: u64) -> bool {
    let bit = cgroup & (FILTER_BITS - 1);
    #[expect(clippy::cast_possible_truncation, reason = "below 64")]
    let word = CRIT_FILTER.get((bit >> 6) as u32);
    word.is_some_and(|word| word & (1 << (bit & 63)) != 0)
}

/// Sends the record of one swapped-out folio.
#[inline(always)]
pub(crate) fn swap_out(
    ctx: &impl EbpfContext,
    now: u64,
    folio: u64,
    owner: u64,
    culprit: Culprit,
    pages: u64,
    suppressed: u64,
) {
    let Some(mut entry) = EVENTS.reserve::<SwapOutEvent>(0) else {
        count(total::RING_DROPS, 1);
        if setting!(emit_all) == 0 {
            unsent(owner, suppressed.wrapping_add(pages));
        }
        return;
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a folio has far fewer than 2^32 pages; sizes are constants"
    )]
    entry.write(SwapOutEvent {
        header: EventHeader {
            kind: event_kind::SWAP_OUT,
            size: size_of::<SwapOutEvent>() as u32,
            ts_ns: now,
        },
        owner,
        reclaimer: culprit.cgroup,
        suppressed_pages: suppressed,
        folio,
        reclaim_kind: culprit.kind,
        pages: pages as u32,
        tgid: ctx.tgid(),
        tid: ctx.pid(),
        comm: bpf_get_current_comm().unwrap_or_default(),
    });
    entry.submit(0);
}
