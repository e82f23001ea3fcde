//! Page level: which page of which process went to swap, and the regions that processes have tagged.
//!
//! A process has at most [`PROCESS_RANGES`] ranges; those of all processes share one table of [`TAG_RANGES`].
//! Each process owns a contiguous, sorted slice of it, which is never changed in place: the agent writes a new
//! slice and then replaces the process's [`ProcessTags`]. A program that still searches the old slice finds it
//! unchanged until the agent hands it out again, and that takes at least [`SLICE_REST_NS`].

use crate::{
    event::{COMM_LEN, EventHeader},
    offsets::ABSENT,
    pod,
};

/// Ranges in the table, of all processes together.
pub const TAG_RANGES: u32 = 65_536;
/// Most ranges of one process: what the programs' search can tell apart.
pub const PROCESS_RANGES: u32 = 8_191;
/// Steps of a search in quarters until fewer than four ranges are left.
pub const SEARCH_STEPS: u32 = steps(PROCESS_RANGES);

const fn steps(mut length: u32) -> u32 {
    let mut steps = 0;
    while length >= 4 {
        length -= 3 * (length >> 2);
        steps += 1;
    }
    steps
}
/// Most processes with tags at the same time.
pub const TAGGED_PROCESSES: u32 = 4_096;
/// Entries in front of the map of tagged processes, by process id.
pub const FRONT_SLOTS: u32 = 4_096;
/// Bit of an entry there: other processes that belong to it have tags too, and are in the map only.
pub const FRONT_MORE: u64 = 1 << 31;

/// An entry in front of the map: all that a search needs to know of a process, in one word.
pub const fn front_entry(tgid: u32, first: u32, count: u32) -> u64 {
    (tgid as u64) << 32 | (count as u64) << 16 | first as u64
}

/// The process id in such an entry; 0 = no process.
pub const fn front_tgid(entry: u64) -> u64 {
    entry >> 32
}

/// First index and number of ranges in such an entry.
pub const fn front_slice(entry: u64) -> (u32, u32) {
    ((entry & 0xffff) as u32, (entry >> 16 & 0x7fff) as u32)
}

const _: () = assert!(TAG_RANGES <= 1 << 16 && PROCESS_RANGES < 1 << 15);
/// How long a slice that is no longer in use is left alone, nanoseconds.
pub const SLICE_REST_NS: u64 = 50_000_000;

/// Bits of [`PageRecord::flags`].
pub mod page_flag {
    /// The page table was seen to change: process and address are certain. Else they were derived from the
    /// reverse mapping after the fact.
    pub const EXACT: u32 = 1;
}

/// Indices into the per-CPU array of page-level totals.
pub mod page_total {
    /// Pages whose process or address could not be told.
    pub const UNKNOWN_PAGES: u32 = 0;
    /// Pages of a tagged region whose counter found no room.
    pub const OVERFLOW_PAGES: u32 = 1;
    /// Records dropped because the ring buffer was full.
    pub const RING_DROPS: u32 = 2;
    /// Pages of folios that have more mappings than were looked at: some processes may not have been named.
    pub const CUT_PAGES: u32 = 3;
    /// Number of totals.
    pub const COUNT: u32 = 4;
}

/// A page of a process was replaced by a swap entry (exact), or was written to swap (approximate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PageRecord {
    /// Kind [`crate::event::event_kind::PAGE`].
    pub header: EventHeader,
    /// Cgroup id that the page is charged to. With memory shared after a fork not always the process's own.
    pub owner: u64,
    /// As [`crate::event::SwapOutEvent::reclaimer`].
    pub reclaimer: u64,
    /// Pages of the same region that were counted since its last record but got none of their own.
    pub suppressed_pages: u64,
    /// The folio, as [`crate::event::SwapOutEvent::folio`]; good for nothing but comparison.
    pub folio: u64,
    /// Virtual address of the (first) page.
    pub address: u64,
    /// `start_boottime` of the process in nanoseconds: with the process id it names one process for ever.
    pub start_ns: u64,
    /// One of [`crate::event::reclaim_kind`].
    pub reclaim_kind: u32,
    /// Process id (thread group) of the process the page belonged to.
    pub tgid: u32,
    /// Label of the tagged region; 0 = none.
    pub label: u32,
    /// Bits of [`page_flag`].
    pub flags: u32,
    /// Consecutive pages from `address`: 1, or for an approximate record those of a large folio.
    pub pages: u32,
    /// Process id of the reclaiming task.
    pub reclaimer_tgid: u32,
    /// Name of the process, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// Name of the reclaiming task, NUL-padded.
    pub reclaimer_comm: [u8; COMM_LEN],
}
pod!(PageRecord, size = 120, align = 8);

/// A tagged process ended, or began another program: its tags are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TagsGone {
    /// Kind [`crate::event::event_kind::TAGS_GONE`].
    pub header: EventHeader,
    /// Process id.
    pub tgid: u32,
    /// [`ProcessTags::generation`] of the tags that are gone.
    pub generation: u32,
}
pod!(TagsGone, size = 24, align = 8);

/// A tagged range of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TagRange {
    /// First address, a multiple of the page size.
    pub start: u64,
    /// Pages from there.
    pub pages: u32,
    /// The region's label: a number the agent gives, never 0 and never given to two processes, so that a record
    /// whose label belongs to another process is known to be stale.
    pub label: u32,
}
pod!(TagRange, size = 16, align = 8);

/// Where a process's ranges are in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessTags {
    /// Index of the first.
    pub first: u32,
    /// How many, sorted by start, disjoint.
    pub count: u32,
    /// Grows with every replacement.
    pub generation: u32,
    /// No padding.
    pub reserved: u32,
}
pod!(ProcessTags, size = 16, align = 4);

/// Labels that can be counted at a time. Twice what the agent gives out: those of tags that are gone stay until it
/// has taken them away.
pub const REGIONS: u32 = 16_384;

/// Hits of one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RegionState {
    /// Pages that went to swap.
    pub pages: u64,
    /// Time of the last record, nanoseconds of `CLOCK_MONOTONIC`; 0 = none yet.
    pub last_ns: u64,
    /// Pages counted since then without a record.
    pub suppressed_pages: u64,
}
pod!(RegionState, size = 24, align = 8);

/// Slots for tasks that are unmapping a page: a task takes one of two that its thread id leads to.
pub const UNMAPPING_SLOTS: u32 = 16_384;

/// What the program at the beginning of an unmapping leaves for the one at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Unmapping {
    /// Thread id of the task whose slot this is; 0 = free.
    pub thread: u64,
    /// The folio, an address.
    pub folio: u64,
    /// Swap entry of its first page.
    pub swap: u64,
    /// Its memory cgroup, an address.
    pub memcg: u64,
    /// Where its first page is, or would be, in the process.
    pub base: u64,
    /// The main task of the process, an address.
    pub task: u64,
    /// Process id.
    pub tgid: u32,
    /// Pages of the folio.
    pub pages: u32,
    /// Pages of it, from the first on, that this unmapping is past: it goes through them in order.
    pub past: u32,
    /// No padding.
    pub reserved: u32,
}
pod!(Unmapping, size = 64, align = 8);

/// What the page-level programs must know about the running kernel besides
/// [`KernelFacts`](crate::offsets::KernelFacts), likewise found in its BTF; [`ABSENT`] where it has no such thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PageFacts {
    /// `folio.mapping` (or `page.mapping`).
    pub folio_mapping: u32,
    /// Bit number of `PG_swapcache`.
    pub pg_swapcache: u32,
    /// `folio.index` (or `page.index`).
    pub folio_index: u32,
    /// `folio.private` (or `page.private`): the swap entry of a folio in the swap cache.
    pub folio_private: u32,
    /// Size of `struct page`.
    pub page_size: u32,
    /// `vm_area_struct.vm_start`.
    pub vma_start: u32,
    /// `vm_area_struct.vm_end`.
    pub vma_end: u32,
    /// `vm_area_struct.vm_pgoff`.
    pub vma_pgoff: u32,
    /// `vm_area_struct.vm_mm`.
    pub vma_mm: u32,
    /// `mm_struct.owner`.
    pub mm_owner: u32,
    /// `mm_struct.mm_users`.
    pub mm_users: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.start_boottime`.
    pub task_start: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.live`.
    pub signal_live: u32,
    /// `anon_vma.rb_root.rb_root.rb_node`.
    pub anon_root: u32,
    /// `anon_vma_chain.vma`.
    pub chain_vma: u32,
    /// `anon_vma_chain.rb`.
    pub chain_node: u32,
    /// `anon_vma_chain.rb.__rb_parent_color`.
    pub chain_parent: u32,
    /// `anon_vma_chain.rb.rb_left`.
    pub chain_left: u32,
    /// `anon_vma_chain.rb.rb_right`.
    pub chain_right: u32,
    /// `anon_vma_chain.rb_subtree_last`.
    pub chain_last: u32,
    /// BTF id of `struct pt_regs`.
    pub type_registers: u32,
    /// 1: a record for every page; 0: for tagged regions only.
    pub all: u32,
}
pod!(PageFacts, size = 25 * 4, align = 4);

impl PageFacts {
    /// A kernel of which nothing is known.
    pub const UNKNOWN: Self = Self {
        folio_mapping: ABSENT,
        pg_swapcache: ABSENT,
        folio_index: ABSENT,
        folio_private: ABSENT,
        page_size: ABSENT,
        vma_start: ABSENT,
        vma_end: ABSENT,
        vma_pgoff: ABSENT,
        vma_mm: ABSENT,
        mm_owner: ABSENT,
        mm_users: ABSENT,
        task_tgid: ABSENT,
        task_start: ABSENT,
        task_comm: ABSENT,
        task_signal: ABSENT,
        signal_live: ABSENT,
        anon_root: ABSENT,
        chain_vma: ABSENT,
        chain_node: ABSENT,
        chain_parent: ABSENT,
        chain_left: ABSENT,
        chain_right: ABSENT,
        chain_last: ABSENT,
        type_registers: ABSENT,
        all: 0,
    };
}
