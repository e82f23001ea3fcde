//! Process and address of a page where functions cannot be hooked: derived at the swap-out tracepoint from the
//! reverse mapping. The folio is unmapped by then, so that whoever may have mapped it is named: a child that
//! has copied the page since its fork as well.

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use memmon_common::page::{TagRange, page_total};

use super::tags::{self, Page};
use crate::{
    kread::{self, Typed},
    maps::fact,
    page_maps::{TAG_RANGES, count_pages, page_fact},
};

/// Low bits of `folio.mapping`: 1 = anonymous, 3 = KSM.
const MAPPING_FLAGS: u64 = 3;
const MAPPING_ANON: u64 = 1;
const PAGE_SHIFT: u32 = 12;
/// Nodes of the reverse mapping that are looked at.
const NODES: u32 = 24;
/// Nodes that wait while others are looked at: the depth of a tree of 2^8 mappings.
const WAITING: usize = 8;
/// Tagged ranges of one large folio that are told apart.
const RANGES: u32 = 8;

/// `mm_vmscan_write_folio(struct folio *)`.
#[btf_tracepoint]
pub(crate) fn page_walk(ctx: BtfTracePointContext) -> i32 {
    let folio = Typed::new(ctx.arg::<*const u8>(0));
    let flags = folio.u64(fact!(folio_flags));
    if flags & (1 << (fact!(pg_swapbacked) & 63)) == 0 {
        return 0;
    }
    let pages = kread::pages_of_folio(folio, flags);
    let mapping = folio.u64(page_fact!(folio_mapping));
    if mapping & MAPPING_FLAGS != MAPPING_ANON {
        // Shared memory belongs to no process, and KSM to any number of them.
        count_pages(page_total::UNKNOWN_PAGES, pages);
        return 0;
    }
    walk(&ctx, folio, mapping - MAPPING_ANON, pages);
    0
}

/// Visits the mappings of an anonymous folio that its pages can lie in: an interval tree by page offset.
#[inline(always)]
fn walk(ctx: &impl EbpfContext, folio: Typed, anon_vma: u64, pages: u64) {
    let first = folio.u64(page_fact!(folio_index));
    let mut waiting = [0u64; WAITING];
    let mut depth = 0usize;
    let mut node = kread::load(anon_vma, page_fact!(anon_root), page_fact!(type_anon_vma));
    let mut found = false;
    // Unrolled, the loop would need more stack than there is.
    for _ in 0..core::hint::black_box(NODES) {
        if node == 0 {
            if depth == 0 {
                break;
            }
            depth -= 1;
            node = waiting[depth & (WAITING - 1)];
        }
        let chain = node.wrapping_sub(u64::from(page_fact!(chain_node)));
        if chain_load(chain, page_fact!(chain_last)) < first {
            node = 0; // Everything from here on lies before the folio.
            continue;
        }
        let vma = chain_load(chain, page_fact!(chain_vma));
        found |= visit(ctx, folio, vma, first, pages);
        let (left, right) = (
            chain_load(chain, page_fact!(chain_left)),
            chain_load(chain, page_fact!(chain_right)),
        );
        if left != 0 && right != 0 && depth < WAITING {
            waiting[depth & (WAITING - 1)] = right;
            depth += 1;
        }
        node = if left != 0 { left } else { right };
    }
    if !found {
        count_pages(page_total::UNKNOWN_PAGES, pages);
    }
}

#[inline(always)]
fn chain_load(chain: u64, offset: u32) -> u64 {
    kread::load(chain, offset, page_fact!(type_chain))
}

#[inline(always)]
fn vma_load(vma: u64, offset: u32) -> u64 {
    kread::load(vma, offset, page_fact!(type_vma))
}

/// Reports the part of the folio that lies in this mapping; `false` if none does or the process is gone.
#[inline(always)]
fn visit(ctx: &impl EbpfContext, folio: Typed, vma: u64, first: u64, pages: u64) -> bool {
    let (start, end, offset) = (
        vma_load(vma, page_fact!(vma_start)),
        vma_load(vma, page_fact!(vma_end)),
        vma_load(vma, page_fact!(vma_pgoff)),
    );
    // In pages from the beginning of the mapping; the folio may begin before it or end behind it.
    let length = end.wrapping_sub(start) >> PAGE_SHIFT;
    let (skip, at) = if first < offset {
        (offset - first, 0)
    } else {
        (0, first - offset)
    };
    if start >= end || skip >= pages || at >= length {
        return false;
    }
    let count = (pages - skip).min(length - at);
    let mm = vma_load(vma, page_fact!(vma_mm));
    if kread::load_u32(mm, page_fact!(mm_users), page_fact!(type_mm)) == 0 {
        return false;
    }
    let task = kread::load(mm, page_fact!(mm_owner), page_fact!(type_mm));
    let tgid = kread::load_u32(task, page_fact!(task_tgid), page_fact!(type_task));
    if tgid == 0 {
        return false;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a folio has far fewer than 2^32 pages"
    )]
    let page = Page {
        folio: folio.addr(),
        memcg: kread::memcg_of_folio(folio),
        task,
        tgid,
        label: 0,
        address: start + (at << PAGE_SHIFT),
        pages: count as u32,
        exact: false,
    };
    if page_fact!(all) != 0 {
        tags::report(ctx, page);
    } else {
        tagged(ctx, page);
    }
    true
}

/// Reports those parts of some consecutive pages that lie in tagged ranges.
#[inline(always)]
fn tagged(ctx: &impl EbpfContext, page: Page) {
    let Some(tags) = tags::of_process(page.tgid) else {
        return;
    };
    let end = page.address + (u64::from(page.pages) << PAGE_SHIFT);
    let from = tags::range_before(tags, page.address).map_or(0, |(index, _)| index);
    for step in 0..core::hint::black_box(RANGES) {
        let index = from.wrapping_add(step);
        if index >= tags.count {
            return;
        }
        let Some(&TagRange { start, pages, label }) = TAG_RANGES.get(tags.first.wrapping_add(index)) else {
            return;
        };
        if start >= end {
            return;
        }
        let low = start.max(page.address);
        let high = (start + (u64::from(pages) << PAGE_SHIFT)).min(end);
        if low < high {
            #[expect(clippy::cast_possible_truncation, reason = "no more than the folio's pages")]
            tags::report(
                ctx,
                Page {
                    label,
                    address: low,
                    pages: ((high - low) >> PAGE_SHIFT) as u32,
                    ..page
                },
            );
        }
    }
}
