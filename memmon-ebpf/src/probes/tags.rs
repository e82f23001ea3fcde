//! Tagged regions: which one an address is in, what is counted for it, and when the tags of a process end.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_comm, bpf_ktime_get_ns, bpf_probe_read_kernel_buf},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use memmon_common::{
    event::{COMM_LEN, EventHeader, event_kind},
    page::{
        PROCESS_FILTER_BITS, PageRecord, ProcessTags, RegionKey, RegionState, SEARCH_STEPS, TagRange,
        TagsGone, page_flag, page_total,
    },
};

use crate::{
    kread::{self, Typed},
    maps::{atomic_add, setting},
    page_maps::{PAGES, REGIONS, TAG_FILTER, TAG_RANGES, TAGGED, count_pages, page_fact},
};

const PAGE_SHIFT: u32 = 12;

/// One bit per process id: `false` is certain, `true` needs the map.
#[inline(always)]
pub(crate) fn maybe_tagged(tgid: u32) -> bool {
    let bit = tgid & (PROCESS_FILTER_BITS - 1);
    TAG_FILTER
        .get(bit >> 6)
        .is_some_and(|word| word & (1 << (bit & 63)) != 0)
}

/// The tags of a process, if it has any.
#[inline(always)]
pub(crate) fn of_process(tgid: u32) -> Option<ProcessTags> {
    if !maybe_tagged(tgid) {
        return None;
    }
    // SAFETY: copied at once. The agent replaces the entry and leaves the ranges it named alone for a while.
    unsafe { TAGGED.get(tgid) }.copied()
}

/// The last range of a process that starts at or before `address`, and its place among the process's ranges.
#[inline(always)]
pub(crate) fn range_before(tags: ProcessTags, address: u64) -> Option<(u32, TagRange)> {
    let (mut low, mut high) = (0u32, tags.count);
    for _ in 0..core::hint::black_box(SEARCH_STEPS) {
        if low >= high {
            break;
        }
        let middle = (low + high) >> 1;
        let range = TAG_RANGES.get(tags.first.wrapping_add(middle))?;
        if range.start <= address {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == 0 {
        return None;
    }
    let range = TAG_RANGES.get(tags.first.wrapping_add(low - 1))?;
    Some((low - 1, *range))
}

/// Label of the region that `address` is in; 0 = none.
#[inline(always)]
pub(crate) fn label_at(tgid: u32, address: u64) -> u32 {
    let Some(tags) = of_process(tgid) else {
        return 0;
    };
    match range_before(tags, address) {
        Some((_, range)) if (address - range.start) >> PAGE_SHIFT < u64::from(range.pages) => range.label,
        _ => 0,
    }
}

/// A page of a process went to swap.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Page {
    pub(crate) folio: u64,
    /// The memory cgroup it is charged to, an address.
    pub(crate) memcg: u64,
    /// The process's main task, an address.
    pub(crate) task: u64,
    pub(crate) tgid: u32,
    pub(crate) label: u32,
    pub(crate) address: u64,
    pub(crate) pages: u32,
    pub(crate) exact: bool,
}

/// Counts a page of a tagged region, and sends a record if one is due (for every page if all are wanted).
#[inline(always)]
pub(crate) fn report(ctx: &impl EbpfContext, page: &Page) {
    let owner = if page.memcg == 0 {
        0
    } else {
        kread::id_of_memcg(page.memcg)
    };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut suppressed = 0;
    if page.label != 0 {
        let key = RegionKey {
            owner,
            tgid: page.tgid,
            label: page.label,
        };
        match hit(&key, u64::from(page.pages), now) {
            Some(pages) => suppressed = pages,
            None if page_fact!(all) != 0 => {}
            None => return,
        }
    }
    send(ctx, page, owner, suppressed, now);
}

/// Counts; the pages that went without a record if one is due.
#[inline(always)]
fn hit(key: &RegionKey, pages: u64, now: u64) -> Option<u64> {
    let mut slot = REGIONS.get_ptr_mut(key);
    if slot.is_none() {
        const BPF_NOEXIST: u64 = 1;
        let empty = RegionState {
            pages: 0,
            last_ns: 0,
            suppressed_pages: 0,
        };
        // May fail because another CPU was first: the look-up below tells.
        let _ = REGIONS.insert(key, empty, BPF_NOEXIST);
        slot = REGIONS.get_ptr_mut(key);
    }
    let Some(state) = slot else {
        count_pages(page_total::OVERFLOW_PAGES, pages);
        return Some(0);
    };
    let interval = setting!(critical_interval_ns);
    // SAFETY: map memory stays valid while the program runs. Two CPUs may both find a record due: then there
    // are two, which is harmless; the counter is added to atomically.
    unsafe {
        atomic_add(&raw mut (*state).pages, pages);
        let last = (*state).last_ns;
        if last != 0 && now.wrapping_sub(last) < interval {
            atomic_add(&raw mut (*state).suppressed_pages, pages);
            return None;
        }
        (*state).last_ns = now;
        let suppressed = (*state).suppressed_pages;
        (*state).suppressed_pages = 0;
        Some(suppressed)
    }
}

#[inline(always)]
fn send(ctx: &impl EbpfContext, page: &Page, owner: u64, suppressed: u64, now: u64) {
    let culprit = kread::culprit(ctx, kread::current(), page.memcg, owner);
    let start = kread::load(page.task, page_fact!(task_start));
    let Some(mut entry) = PAGES.reserve::<PageRecord>(0) else {
        count_pages(page_total::RING_DROPS, u64::from(page.pages));
        return;
    };
    let comm = (page.task + u64::from(page_fact!(task_comm))) as *const u8;
    let record = entry.as_mut_ptr();
    // Field by field: a second copy on the stack would not fit beside what the walk keeps there.
    // SAFETY: `record` points at reserved memory of the right size; every field is written.
    unsafe {
        #[expect(clippy::cast_possible_truncation, reason = "the size is a constant")]
        {
            (*record).header = EventHeader {
                kind: event_kind::PAGE,
                size: size_of::<PageRecord>() as u32,
                ts_ns: now,
            };
        }
        (*record).owner = owner;
        (*record).reclaimer = culprit.cgroup;
        (*record).suppressed_pages = suppressed;
        (*record).folio = page.folio;
        (*record).address = page.address;
        (*record).start_ns = start;
        (*record).reclaim_kind = culprit.kind;
        (*record).tgid = page.tgid;
        (*record).label = page.label;
        (*record).flags = if page.exact { page_flag::EXACT } else { 0 };
        (*record).pages = page.pages;
        (*record).reclaimer_tgid = ctx.tgid();
        (*record).comm = [0; COMM_LEN];
        // Unreadable, it stays empty.
        let _ = bpf_probe_read_kernel_buf(comm, &mut *(&raw mut (*record).comm));
        (*record).reclaimer_comm = bpf_get_current_comm().unwrap_or_default();
    }
    entry.submit(0);
}

/// Takes the tags of a process away and tells the agent.
#[inline(always)]
fn end(tgid: u32) {
    let Some(tags) = of_process(tgid) else {
        return;
    };
    if TAGGED.remove(tgid).is_err() {
        return; // The agent, or another thread, was first.
    }
    let Some(mut entry) = PAGES.reserve::<TagsGone>(0) else {
        count_pages(page_total::RING_DROPS, 1);
        return;
    };
    #[expect(clippy::cast_possible_truncation, reason = "the size is a constant")]
    entry.write(TagsGone {
        header: EventHeader {
            kind: event_kind::TAGS_GONE,
            size: size_of::<TagsGone>() as u32,
            // SAFETY: no arguments.
            ts_ns: unsafe { bpf_ktime_get_ns() },
        },
        tgid,
        generation: tags.generation,
    });
    entry.submit(0);
}

/// `sched_process_exec(struct task_struct *, …)`: the memory that was tagged is gone.
#[btf_tracepoint]
pub(crate) fn process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = Typed::new(ctx.arg::<*const u8>(0));
    end(task.u32(page_fact!(task_tgid)));
    0
}

/// `sched_process_exit(struct task_struct *, …)`, for each thread: the last one takes the tags along.
#[btf_tracepoint]
pub(crate) fn process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = Typed::new(ctx.arg::<*const u8>(0));
    let live = task.follow(page_fact!(task_signal)).u32(page_fact!(signal_live));
    if live == 0 {
        end(task.u32(page_fact!(task_tgid)));
    }
    0
}
