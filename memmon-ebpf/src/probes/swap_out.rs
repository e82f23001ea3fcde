//! Swap-out: the tracepoint that counts every page, and the second ledger at `__swap_writepage`.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, fentry},
    programs::{BtfTracePointContext, FEntryContext},
};
use aya_log_ebpf::{trace, warn};
use memmon_common::{
    event::{SWAP_OUT_COPIES, total},
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
    if fact!(preemptible) != ABSENT && !mark(&ctx, folio) {
        maps::count(total::PASSED_ON_EVENTS, 1);
        return 0;
    }
    account::<0>(&ctx, folio);
    0
}

/// Runs after [`swap_out`] for the same event, where a task can be preempted inside it: the kernel then skips
/// `swap_out` for every other task of that CPU, and this one counts their pages. What it counts, it counts
/// apart, since it may itself have interrupted the first.
#[btf_tracepoint]
pub(crate) fn swap_out_again(ctx: BtfTracePointContext) -> i32 {
    count_if_missed::<1>(&ctx)
}

/// The same for a task that interrupts [`swap_out_again`] as well.
#[btf_tracepoint]
pub(crate) fn swap_out_third(ctx: BtfTracePointContext) -> i32 {
    count_if_missed::<2>(&ctx)
}

#[inline(always)]
fn count_if_missed<const COPY: u32>(ctx: &BtfTracePointContext) -> i32 {
    let folio = Typed::new(ctx.arg::<*const u8>(0));
    let last = COPY == SWAP_OUT_COPIES - 1;
    if let Some(mark) = HANDLED.get_ptr_mut(ctx.pid()) {
        // SAFETY: map memory stays valid while the program runs, and the entry is this thread's.
        unsafe {
            if *mark == folio.addr() {
                if last {
                    *mark = 0;
                }
                return 0;
            }
        }
    }
    // The last needs no mark; another that finds no room for it leaves the event to the next.
    if !last && !mark(ctx, folio) {
        return 0;
    }
    maps::count_of::<COPY>(total::RECOVERED_EVENTS, 1);
    account::<COPY>(ctx, folio);
    0
}

/// Tells the later copies that this thread's event is counted; `false` if there is no room to. It comes before the
/// counting, so that no event is ever counted twice.
#[inline(always)]
fn mark(ctx: &BtfTracePointContext, folio: Typed) -> bool {
    match HANDLED.get_ptr_mut(ctx.pid()) {
        Some(mark) => {
            // SAFETY: as in `count_if_missed`.
            unsafe { *mark = folio.addr() };
            true
        }
        None => HANDLED.insert(ctx.pid(), folio.addr(), 0).is_ok(),
    }
}

/// `sched_process_exit(struct task_struct *, ...)`, for every thread, in its own context: makes room in [`HANDLED`].
#[btf_tracepoint]
pub(crate) fn thread_exit(ctx: BtfTracePointContext) -> i32 {
    let _ = HANDLED.remove(ctx.pid());
    0
}

#[inline(always)]
fn account<const COPY: u32>(ctx: &BtfTracePointContext, folio: Typed) {
    let flags = folio.u64(fact!(folio_flags));
    let pages = kread::pages_of_folio(folio, flags);
    if flags & (1 << (fact!(pg_swapbacked) & 63)) == 0 {
        maps::count_of::<COPY>(total::FILE_PAGES, pages);
        return;
    }
    let Some(run) = maps::open_run::<COPY>() else {
        return;
    };
    let memcg = kread::memcg_of_folio(folio);
    let (mut serial, mut owner) = (0, 0);
    if memcg != 0 {
        serial = kread::serial_of_memcg(memcg);
        // Mostly the last page's: one cache line in place of three.
        owner = maps::owner_of_run(run, serial).unwrap_or_else(|| kread::id_of_memcg(memcg));
    }
    if owner == 0 {
        maps::count_of::<COPY>(total::UNATTRIBUTED_PAGES, pages);
        warn!(ctx, "{} pages without a readable owner, memcg {:x}", pages, memcg);
        return;
    }
    let culprit = kread::culprit(ctx, kread::current(), memcg, owner);
    maps::count_swap_out::<COPY>(run, serial, owner, culprit.cgroup, u64::from(culprit.kind), pages);
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
