//! Process and address of a page where functions cannot be hooked: derived at the swap-out tracepoint from the
//! reverse mapping. The folio is unmapped by then, so that whoever may have mapped it is named: a child that
//! has copied the page since its fork as well.

use aya_ebpf::{EbpfContext, helpers::bpf_loop, macros::btf_tracepoint, programs::BtfTracePointContext};
use memmon_common::page::page_total;

use super::tags::{self, Page};
use crate::{
    kread::{self, Typed},
    maps::fact,
    page_maps::{TAG_RANGES, count_pages, page_fact},
};

/// Low bits of `folio.mapping`: 1 = anonymous, 3 = KSM.
const MAPPING_FLAGS: u64 = 3;
const MAPPING_ANON: u64 = 1;
/// Low bits of `rb_node.__rb_parent_color`.
const COLOUR: u64 = 3;
const PAGE_SHIFT: u32 = 12;
/// Steps through the tree of mappings: two for each one that may hold the folio, and some to get there.
const STEPS: u32 = 768;
/// Tagged ranges of one folio that are told apart: more than a huge page can touch.
const RANGES: u32 = 520;
/// What a loop's callback returns to go on, and to end it.
const GO_ON: u64 = 0;
const DONE: u64 = 1;

/// What a callback has in place of the program's context, which the helpers used here do not look at.
struct Task;

impl EbpfContext for Task {
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        core::ptr::null_mut()
    }
}

/// An anonymous folio.
#[derive(Clone, Copy)]
#[repr(C)]
struct Folio {
    address: u64,
    memcg: u64,
    /// Its page offset in whatever maps it.
    first: u64,
    pages: u64,
}

/// `mm_vmscan_write_folio(struct folio *)`.
#[btf_tracepoint]
pub(crate) fn page_walk(ctx: BtfTracePointContext) -> i32 {
    let folio = Typed::new(ctx.arg::<*const u8>(0));
    let flags = folio.u64(fact!(folio_flags));
    if flags & (1 << (fact!(pg_swapbacked) & 63)) == 0 {
        return 0;
    }
    let pages = kread::pages_of_folio(folio, flags);
    let mapping = kread::load(folio.addr(), page_fact!(folio_mapping));
    if mapping & MAPPING_FLAGS != MAPPING_ANON {
        // Shared memory belongs to no process, and KSM to any number of them.
        count_pages(page_total::UNKNOWN_PAGES, pages);
        return 0;
    }
    let root = kread::load(mapping - MAPPING_ANON, page_fact!(anon_root));
    let folio = Folio {
        address: folio.addr(),
        memcg: kread::memcg_of_folio(folio),
        first: folio.u64(page_fact!(folio_index)),
        pages,
    };
    let mut walk = Walk {
        folio,
        node: root,
        from: 0,
        found: 0,
    };
    repeat(STEPS, step, &mut walk);
    if walk.found == 0 {
        count_pages(page_total::UNKNOWN_PAGES, pages);
    } else if walk.node != 0 {
        count_pages(page_total::CUT_PAGES, pages);
    }
    0
}

/// Calls `callback` up to `times` times. The verifier looks at a callback once, and at a loop's body once for
/// each way through all the rounds before.
#[inline(always)]
fn repeat<T>(times: u32, callback: extern "C" fn(u32, *mut T) -> u64, state: &mut T) {
    // SAFETY: the callback has the signature that the helper calls, and `state` outlives the call.
    unsafe { bpf_loop(times, callback as *mut _, (&raw mut *state).cast(), 0) };
}

/// A walk through the mappings that can hold the folio, in the order node, left, right, up: an interval tree
/// by page offset, in which parent pointers stand in for a stack.
#[repr(C)]
struct Walk {
    folio: Folio,
    node: u64,
    /// The node we came from.
    from: u64,
    /// Mappings that hold the folio.
    found: u64,
}

extern "C" fn step(_: u32, walk: *mut Walk) -> u64 {
    // SAFETY: the loop passes on what it was given.
    let walk = unsafe { &mut *walk };
    let node = walk.node;
    if node == 0 {
        return DONE;
    }
    let chain = node.wrapping_sub(u64::from(page_fact!(chain_node)));
    let up = kread::load(chain, page_fact!(chain_parent)) & !COLOUR;
    let left = kread::load(chain, page_fact!(chain_left));
    let vma = kread::load(chain, page_fact!(chain_vma));
    // What is to the right of a mapping begins no earlier than it does.
    let right = if kread::load(vma, page_fact!(vma_pgoff)) < walk.folio.first.wrapping_add(walk.folio.pages) {
        kread::load(chain, page_fact!(chain_right))
    } else {
        0
    };
    let mut next = up;
    if walk.from == up {
        // Otherwise everything from here on lies before the folio.
        if kread::load(chain, page_fact!(chain_last)) >= walk.folio.first {
            if let Some(page) = visit(&walk.folio, vma) {
                walk.found += 1;
                told(page);
            }
            if left != 0 {
                next = left;
            } else if right != 0 {
                next = right;
            }
        }
    } else if walk.from == left && right != 0 {
        next = right;
    }
    walk.from = node;
    walk.node = next;
    GO_ON
}

/// Reports all of the pages, or those parts of them that lie in tagged ranges.
#[inline(always)]
fn told(mut page: Page) {
    if page_fact!(all) != 0 || page.pages == 1 {
        page.label = tags::label_at(page.tgid, page.address);
        if page_fact!(all) != 0 || page.label != 0 {
            tags::report(&Task, &page);
        }
    } else if let Some(tags) = tags::of_process(page.tgid) {
        let mut search = Search {
            page,
            first: tags::range_before(tags, page.address).map_or(tags.first, |(index, _)| index),
            end: tags.first.wrapping_add(tags.count),
        };
        repeat(RANGES, overlap, &mut search);
    }
}

/// The part of the folio that lies in this mapping; `None` if none does or the process is gone.
#[inline(always)]
fn visit(folio: &Folio, vma: u64) -> Option<Page> {
    let start = kread::load(vma, page_fact!(vma_start));
    let end = kread::load(vma, page_fact!(vma_end));
    let offset = kread::load(vma, page_fact!(vma_pgoff));
    // In pages from the beginning of the mapping; the folio may begin before it or end behind it.
    let length = end.wrapping_sub(start) >> PAGE_SHIFT;
    let (skip, at) = if folio.first < offset {
        (offset - folio.first, 0)
    } else {
        (0, folio.first - offset)
    };
    if start >= end || skip >= folio.pages || at >= length {
        return None;
    }
    let count = (folio.pages - skip).min(length - at);
    let mm = kread::load(vma, page_fact!(vma_mm));
    if kread::load_u32(mm, page_fact!(mm_users)) == 0 {
        return None;
    }
    let task = kread::load(mm, page_fact!(mm_owner));
    let tgid = kread::load_u32(task, page_fact!(task_tgid));
    if tgid == 0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a folio has far fewer than 2^32 pages"
    )]
    Some(Page {
        folio: folio.address,
        memcg: folio.memcg,
        task,
        tgid,
        label: 0,
        address: start + (at << PAGE_SHIFT),
        pages: count as u32,
        exact: false,
    })
}

/// A search for the tagged ranges that some consecutive pages of a process lie in.
#[repr(C)]
struct Search {
    page: Page,
    /// Where in the table the first is that can be one of them, and where the process's end.
    first: u32,
    end: u32,
}

/// Reports the part of the pages that lies in one range.
extern "C" fn overlap(step: u32, search: *mut Search) -> u64 {
    // SAFETY: the loop passes on what it was given.
    let Search { page, first, end } = unsafe { &*search };
    let index = first.wrapping_add(step);
    if index >= *end {
        return DONE;
    }
    let Some(range) = TAG_RANGES.get(index) else {
        return DONE;
    };
    let to = page.address + (u64::from(page.pages) << PAGE_SHIFT);
    if range.start >= to {
        return DONE;
    }
    let low = range.start.max(page.address);
    let high = (range.start + (u64::from(range.pages) << PAGE_SHIFT)).min(to);
    if low < high {
        #[expect(clippy::cast_possible_truncation, reason = "no more than the folio's pages")]
        let part = Page {
            label: range.label,
            address: low,
            pages: ((high - low) >> PAGE_SHIFT) as u32,
            ..*page
        };
        tags::report(&Task, &part);
    }
    GO_ON
}
