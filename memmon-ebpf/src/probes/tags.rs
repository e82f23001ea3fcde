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
        FRONT_MORE, FRONT_SLOTS, PageRecord, RegionState, SEARCH_STEPS, TagRange, TagsGone, front_slice,
        front_tgid, page_flag, page_total,
    },
};

use crate::{
    kread::{self, Typed},
    maps::{atomic_add, atomic_exchange_if, setting},
    page_maps::{PAGES, REGION_OVERFLOW, REGIONS, TAG_FRONT, TAG_RANGES, TAGGED, count_pages, page_fact},
};

const PAGE_SHIFT: u32 = 12;

/// Where a process's ranges are in the table.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// The entry that a process belongs to: it may be another process's.
#[inline(always)]
fn front(tgid: u32) -> u64 {
    match TAG_FRONT.get_ptr(tgid & (FRONT_SLOTS - 1)) {
        // SAFETY: map memory stays valid while the program runs. Read once: the agent replaces it as a whole.
        Some(entry) => unsafe { entry.read_volatile() },
        None => 0,
    }
}

/// `false` is certain: the process has no tags.
#[inline(always)]
pub(crate) fn maybe_tagged(tgid: u32) -> bool {
    let entry = front(tgid);
    front_tgid(entry) == u64::from(tgid) || entry & FRONT_MORE != 0
}

/// The ranges of a process, if it has any.
#[inline(always)]
pub(crate) fn of_process(tgid: u32) -> Option<Slice> {
    let entry = front(tgid);
    if front_tgid(entry) == u64::from(tgid) {
        let (first, count) = front_slice(entry);
        return Some(Slice { first, count });
    }
    if entry & FRONT_MORE == 0 {
        return None;
    }
    // SAFETY: copied at once. The agent replaces the entry and leaves the ranges it named alone for a while.
    let tags = unsafe { TAGGED.get(tgid) }?;
    Some(Slice {
        first: tags.first,
        count: tags.count,
    })
}

/// 1 if the range at `index` starts at or before `address`, else 0.
///
/// No processor could guess which: a jump would cost more than the rest. User addresses have no sign bit.
#[inline(always)]
fn starts_before(index: u32, address: u64) -> Option<u32> {
    let start = TAG_RANGES.get(index)?.start;
    Some((start.wrapping_sub(address).wrapping_sub(1) >> 63) as u32)
}

/// The last range of a process that starts at or before `address`, or its first one, and where it is in the table.
///
/// In quarters: the three looked at in one step do not wait for each other, so that half as many steps do.
#[inline(always)]
pub(crate) fn range_before(tags: Slice, address: u64) -> Option<(u32, &'static TagRange)> {
    let (mut low, mut length) = (tags.first, tags.count);
    for _ in 0..SEARCH_STEPS {
        if length < 4 {
            break;
        }
        let quarter = length >> 2;
        let (second, third) = (quarter << 1, (quarter << 1) + quarter);
        let before = starts_before(low.wrapping_add(quarter), address)?
            + starts_before(low.wrapping_add(second), address)?
            + starts_before(low.wrapping_add(third), address)?;
        low = low.wrapping_add(quarter * before);
        // The last part is the longest; in the others what lies behind them does no harm.
        length -= third;
    }
    for _ in 0..2 {
        if length > 1 {
            low = low.wrapping_add(starts_before(low.wrapping_add(1), address)?);
            length -= 1;
        }
    }
    Some((low, TAG_RANGES.get(low)?))
}

/// Label of the region that `address` is in; 0 = none.
#[inline(always)]
pub(crate) fn label_at(tgid: u32, address: u64) -> u32 {
    let Some(tags) = of_process(tgid) else {
        return 0;
    };
    match range_before(tags, address) {
        // An address before the range is far behind its end, the way numbers wrap.
        Some((_, range)) if address.wrapping_sub(range.start) >> PAGE_SHIFT < u64::from(range.pages) => {
            range.label
        }
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
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut suppressed = 0;
    if page.label != 0 {
        match hit(page.label, u64::from(page.pages), now) {
            Some(pages) => suppressed = pages,
            None if page_fact!(all) != 0 => {}
            None => return,
        }
    }
    send(ctx, page, suppressed, now);
}

/// Counts; the pages that went without a record if one is due.
#[inline(always)]
fn hit(label: u32, pages: u64, now: u64) -> Option<u64> {
    let mut slot = REGIONS.get_ptr_mut(label);
    if slot.is_none() {
        const BPF_NOEXIST: u64 = 1;
        let empty = RegionState {
            pages: 0,
            last_ns: 0,
            suppressed_pages: 0,
        };
        // May fail because another CPU was first: the look-up below tells.
        let _ = REGIONS.insert(label, empty, BPF_NOEXIST);
        slot = REGIONS.get_ptr_mut(label);
    }
    if slot.is_none() {
        // Without a limit of their own they share one: records without end would push out those of others.
        count_pages(page_total::OVERFLOW_PAGES, pages);
        slot = REGION_OVERFLOW.get_ptr_mut(0);
    }
    let state = slot?;
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
fn send(ctx: &impl EbpfContext, page: &Page, suppressed: u64, now: u64) {
    let owner = if page.memcg == 0 {
        0
    } else {
        kread::id_of_memcg(page.memcg)
    };
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
    if !maybe_tagged(tgid) {
        return;
    }
    // SAFETY: a number is copied.
    let Some(generation) = (unsafe { TAGGED.get(tgid) }).map(|tags| tags.generation) else {
        return;
    };
    if TAGGED.remove(tgid).is_err() {
        return; // The agent, or another thread, was first.
    }
    if let Some(slot) = TAG_FRONT.get_ptr_mut(tgid & (FRONT_SLOTS - 1)) {
        // SAFETY: map memory stays valid while the program runs.
        unsafe {
            let entry = slot.read_volatile();
            if front_tgid(entry) == u64::from(tgid) {
                // If the agent has put something else there meanwhile, that is newer.
                atomic_exchange_if(slot, entry, entry & FRONT_MORE);
            }
        }
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
        generation,
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
