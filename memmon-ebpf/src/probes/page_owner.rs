//! Process and address of each page that gets a swap entry, exactly.
//!
//! The reverse mapping calls `try_to_unmap_one` for every place a folio may be mapped, and inside it takes one
//! reference to the swap entry for each page table entry that it replaces. The first program notes where the
//! kernel is looking, the second takes that for true when the reference is taken. Without the second a forked
//! child that no longer maps the page would be charged as well.

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use memmon_common::page::{UNMAPPING_SLOTS, Unmapping, page_total};

use super::tags::{self, Page};
use crate::{
    kread::{self, Typed},
    maps::{atomic_exchange_if, fact},
    page_maps::{UNMAPPING, count_pages, page_fact},
};

const PF_MEMALLOC: u32 = 0x0000_0800;
const PAGE_SHIFT: u32 = 12;

/// The two slots a thread may use.
#[inline(always)]
fn slots(thread: u32) -> [u32; 2] {
    const GOLDEN: u32 = 0x9e37_79b1;
    [
        thread & (UNMAPPING_SLOTS - 1),
        thread.wrapping_mul(GOLDEN) >> (32 - UNMAPPING_SLOTS.trailing_zeros()),
    ]
}

/// The slot this thread holds.
#[inline(always)]
fn held(thread: u32) -> Option<*mut Unmapping> {
    let [first, second] = slots(thread);
    let slot = UNMAPPING.get_ptr_mut(first)?;
    // SAFETY: map memory stays valid while the program runs.
    if unsafe { (*slot).thread } == u64::from(thread) {
        return Some(slot);
    }
    let slot = UNMAPPING.get_ptr_mut(second)?;
    // SAFETY: as above.
    (unsafe { (*slot).thread } == u64::from(thread)).then_some(slot)
}

/// A slot for this thread: the one it holds, a free one of its two, or the second all the same. Whoever loses
/// a slot notices by the thread id in it.
#[inline(always)]
fn claim(thread: u32) -> Option<*mut Unmapping> {
    if let Some(slot) = held(thread) {
        return Some(slot);
    }
    let [first, second] = slots(thread);
    let slot = UNMAPPING.get_ptr_mut(first)?;
    // SAFETY: map memory stays valid while the program runs.
    if unsafe { atomic_exchange_if(&raw mut (*slot).thread, 0, u64::from(thread)) } == 0 {
        return Some(slot);
    }
    let slot = UNMAPPING.get_ptr_mut(second)?;
    // SAFETY: as above.
    unsafe {
        let holder = (*slot).thread;
        (atomic_exchange_if(&raw mut (*slot).thread, holder, u64::from(thread)) == holder).then_some(slot)
    }
}

#[inline(always)]
fn release(slot: *mut Unmapping) {
    // SAFETY: map memory stays valid while the program runs; the slot is this thread's.
    unsafe { (&raw mut (*slot).thread).write_volatile(0) };
}

/// `try_to_unmap_one(struct folio *, struct vm_area_struct *, unsigned long address, void *)`.
#[fentry]
pub(crate) fn page_unmap(ctx: FEntryContext) -> i32 {
    let folio = Typed::new(ctx.arg::<*const u8>(0));
    let vma = Typed::new(ctx.arg::<*const u8>(1));
    let flags = folio.u64(fact!(folio_flags));
    let wanted = 1 << (fact!(pg_swapbacked) & 63) | 1 << (page_fact!(pg_swapcache) & 63);
    if flags & wanted != wanted {
        return 0; // It has no swap entry: a file's, or shared memory, which gets one when it is unmapped.
    }
    let thread = ctx.pid();
    let task = vma.follow(page_fact!(vma_mm)).follow(page_fact!(mm_owner));
    let tgid = task.u32(page_fact!(task_tgid));
    if page_fact!(all) == 0 && !tags::maybe_tagged(tgid) {
        // What an unmapping that came to nothing left must not be taken for this one.
        if let Some(slot) = held(thread) {
            release(slot);
        }
        return 0;
    }
    let pages = kread::pages_of_folio(folio, flags);
    let base = if pages == 1 {
        ctx.arg::<u64>(2)
    } else {
        // The address is that of the first page within the mapping, not of the folio's first page.
        let ahead = folio
            .u64(page_fact!(folio_index))
            .wrapping_sub(vma.u64(page_fact!(vma_pgoff)));
        vma.u64(page_fact!(vma_start)).wrapping_add(ahead << PAGE_SHIFT)
    };
    let Some(slot) = claim(thread) else {
        count_pages(page_total::UNKNOWN_PAGES, pages);
        return 0;
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a folio has far fewer than 2^32 pages"
    )]
    let stash = Unmapping {
        thread: u64::from(thread),
        folio: folio.addr(),
        swap: folio.u64(page_fact!(folio_private)),
        memcg: kread::memcg_of_folio(folio),
        base,
        task: task.addr(),
        tgid,
        pages: pages as u32,
        past: 0,
        reserved: 0,
    };
    // SAFETY: map memory stays valid while the program runs; the slot is this thread's.
    unsafe { *slot = stash };
    0
}

/// A page table entry of this thread's unmapping has become a swap entry: of page `index` of its folio.
#[inline(always)]
fn commit(ctx: &FExitContext, slot: *mut Unmapping, index: u64) {
    // SAFETY: map memory stays valid while the program runs; the slot is this thread's.
    let stash = unsafe { *slot };
    if index >= u64::from(stash.pages) {
        return;
    }
    if index < u64::from(stash.past) {
        // The kernel skipped the first program for the mapping it is in now: the slot is about an earlier one.
        release(slot);
        count_pages(page_total::UNKNOWN_PAGES, 1);
        return;
    }
    if index + 1 == u64::from(stash.pages) {
        // It is in one place per mapping: nothing further can follow.
        release(slot);
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below the number of pages, which is as wide"
        )]
        // SAFETY: map memory stays valid while the program runs; the slot is this thread's.
        unsafe {
            (*slot).past = index as u32 + 1;
        }
    }
    let address = stash.base.wrapping_add(index << PAGE_SHIFT);
    let label = tags::label_at(stash.tgid, address);
    if label == 0 && page_fact!(all) == 0 {
        return;
    }
    if stash.tgid == 0 {
        // The process is ending, and nobody owns its memory any more.
        count_pages(page_total::UNKNOWN_PAGES, 1);
        return;
    }
    tags::report(
        ctx,
        &Page {
            folio: stash.folio,
            memcg: stash.memcg,
            task: stash.task,
            tgid: stash.tgid,
            label,
            address,
            pages: 1,
            exact: true,
        },
    );
}

/// `int swap_duplicate(swp_entry_t)` (up to 6.19), which fork calls too: only reclaim has `PF_MEMALLOC` set.
#[fexit]
pub(crate) fn page_commit_entry(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(1) != 0 || kread::current().u32(fact!(task_flags)) & PF_MEMALLOC == 0 {
        return 0;
    }
    let Some(slot) = held(ctx.pid()) else {
        return 0;
    };
    // SAFETY: map memory stays valid while the program runs.
    let index = ctx.arg::<u64>(0).wrapping_sub(unsafe { (*slot).swap });
    commit(&ctx, slot, index);
    0
}

/// `int folio_dup_swap(struct folio *, struct page *)` (from 7.0); shared memory calls it without a page.
#[fexit]
pub(crate) fn page_commit_folio(ctx: FExitContext) -> i32 {
    let (folio, page) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    if ctx.arg::<i32>(2) != 0 || page == 0 {
        return 0;
    }
    let Some(slot) = held(ctx.pid()) else {
        return 0;
    };
    // SAFETY: map memory stays valid while the program runs.
    if unsafe { (*slot).folio } != folio {
        return 0;
    }
    // The pages of a folio lie one after the other in the kernel's map of memory. `checked_div`: a plain one has
    // a panic in it, as long as the compiler does not know the divisor, and no verifier loads that.
    let size = u64::from(page_fact!(page_size));
    if let Some(index) = page.wrapping_sub(folio).checked_div(size) {
        commit(&ctx, slot, index);
    }
    0
}
