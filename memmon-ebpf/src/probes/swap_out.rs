//! Swap-out: the tracepoint that counts every page, and the second ledger at `__swap_writepage`.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, fentry},
    programs::{BtfTracePointContext, FEntryContext},
};
use aya_log_ebpf::{trace, warn};
use memmon_common::{
    event::{HANDLED_SLOTS, total},
    offsets::ABSENT,
};

use crate::{
    emit,
    kread::{self, Typed},
    maps::{self, HANDLED, SWAP_WRITE, fact},
};

/// `mm_vmscan_write_folio(struct folio *)` or, up to 5.17, `mm_vmscan_writepage(struct page *)`.
///
/// The folio is unlocked but still referenced, and still charged to its owner. `current` is only whoever
/// happens to reclaim.
#[btf_tracepoint]
pub(crate) fn swap_out(ctx: BtfTracePointContext) -> i32 {
    let folio = Typed::new(ctx.arg::<*const u8>(0));
    account::<false>(&ctx, folio);
    if fact!(preemptible) != ABSENT
        && let Some(slot) = HANDLED.get_ptr_mut(ctx.pid() % HANDLED_SLOTS)
    {
        // SAFETY: map memory stays valid while the program runs; the slot is this thread's.
        unsafe { *slot = folio.addr() };
    }
    0
}

/// Runs after [`swap_out`] for the same event, where a task can be preempted inside it: the kernel then skips
/// `swap_out` for every other task of that CPU, and this one counts their pages. What it counts, it counts
/// apart, since it may itself have interrupted the first.
#[btf_tracepoint]
pub(crate) fn swap_out_again(ctx: BtfTracePointContext) -> i32 {
    let folio = Typed::new(ctx.arg::<*const u8>(0));
    if let Some(slot) = HANDLED.get_ptr_mut(ctx.pid() % HANDLED_SLOTS) {
        // SAFETY: as in `swap_out`.
        unsafe {
            if *slot == folio.addr() {
                *slot = 0;
                return 0;
            }
        }
    }
    maps::count_of::<true>(total::RECOVERED_EVENTS, 1);
    account::<true>(&ctx, folio);
    0
}

#[inline(always)]
fn account<const AGAIN: bool>(ctx: &BtfTracePointContext, folio: Typed) {
    let flags = folio.u64(fact!(folio_flags));
    let pages = kread::pages_of_folio(folio, flags);
    if flags & (1 << (fact!(pg_swapbacked) & 63)) == 0 {
        maps::count_of::<AGAIN>(total::FILE_PAGES, pages);
        return;
    }
    let memcg = kread::memcg_of_folio(folio);
    let owner = if memcg == 0 { 0 } else { kread::id_of_memcg(memcg) };
    if owner == 0 {
        maps::count_of::<AGAIN>(total::UNATTRIBUTED_PAGES, pages);
        warn!(ctx, "{} pages without a readable owner, memcg {:x}", pages, memcg);
        return;
    }
    let culprit = kread::culprit(ctx, kread::current(), memcg, owner);
    maps::count_swap_out::<AGAIN>(owner, culprit.cgroup, u64::from(culprit.kind), pages);
    trace!(
        ctx,
        "{} pages of cgroup {} by cgroup {}, kind {}", pages, owner, culprit.cgroup, culprit.kind
    );
    let mut now = 0;
    if let Some(suppressed) = emit::due(owner, pages, &mut now) {
        emit::swap_out(ctx, now, folio.addr(), owner, culprit, pages, suppressed);
    }
}

#[inline(always)]
fn swap_write(folio: Typed) -> i32 {
    let pages = kread::pages_of_folio(folio, folio.u64(fact!(folio_flags)));
    let memcg = kread::memcg_of_folio(folio);
    let owner = if memcg == 0 { 0 } else { kread::id_of_memcg(memcg) };
    if !maps::add(&SWAP_WRITE, &owner, pages) {
        maps::count(total::LEDGER_OVERFLOW_PAGES, pages);
    }
    0
}

/// `__swap_writepage` where the folio (or page) is its first argument (up to 7.2).
#[fentry]
pub(crate) fn swap_write_0(ctx: FEntryContext) -> i32 {
    swap_write(Typed::new(ctx.arg::<*const u8>(0)))
}

/// `__swap_writepage` where the folio is its second argument (7.3).
#[fentry]
pub(crate) fn swap_write_1(ctx: FEntryContext) -> i32 {
    swap_write(Typed::new(ctx.arg::<*const u8>(1)))
}
