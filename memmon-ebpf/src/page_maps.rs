//! Maps and the read-only global of page level. Names are those of [`memmon_common::names`].
//!
//! The agent loads page level apart from the rest and makes the maps of the other part as small as they can
//! be: these cost nothing until somebody asks for pages.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use memmon_common::page::{
    FRONT_SLOTS, PageFacts, ProcessTags, REGIONS as LABELS, RegionState, TAG_RANGES as RANGES,
    TAGGED_PROCESSES, TagRange, UNMAPPING_SLOTS, Unmapping, page_total,
};

/// Replaced by the agent before the object is loaded.
#[unsafe(no_mangle)]
pub(crate) static PAGE_FACTS: PageFacts = PageFacts::UNKNOWN;

#[map]
pub(crate) static TAG_RANGES: Array<TagRange> = Array::with_max_entries(RANGES, BPF_F_MMAPABLE);

#[map]
pub(crate) static TAGGED: HashMap<u32, ProcessTags> = HashMap::with_max_entries(TAGGED_PROCESSES, 0);

/// An inlined array access tells that a process has no tags, and mostly where its tags are: a hash look-up would
/// take as long as half of the search.
#[map]
pub(crate) static TAG_FRONT: Array<u64> = Array::with_max_entries(FRONT_SLOTS, BPF_F_MMAPABLE);

#[map]
pub(crate) static REGIONS: HashMap<u32, RegionState> = HashMap::with_max_entries(LABELS, 0);

/// What stands in for all labels that found no room there.
#[map]
pub(crate) static REGION_OVERFLOW: Array<RegionState> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static PAGE_TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(page_total::COUNT, 0);

#[map]
pub(crate) static UNMAPPING: Array<Unmapping> = Array::with_max_entries(UNMAPPING_SLOTS, 0);

#[map]
pub(crate) static PAGES: RingBuf = RingBuf::with_byte_size(512 * 1024, 0);

/// Reads one field of [`PAGE_FACTS`]; the verifier knows its value.
macro_rules! page_fact {
    ($field:ident) => {
        // SAFETY: a field of an initialised static; volatile because the loader rewrites it.
        unsafe { core::ptr::read_volatile(&raw const $crate::page_maps::PAGE_FACTS.$field) }
    };
}
pub(crate) use page_fact;

/// Adds to one of the page-level totals of this CPU.
#[inline(always)]
pub(crate) fn count_pages(total: u32, pages: u64) {
    if let Some(slot) = PAGE_TOTALS.get_ptr_mut(total) {
        // SAFETY: map memory stays valid while the program runs. Several programs may add on one CPU.
        unsafe { crate::maps::atomic_add(slot, pages) };
    }
}
