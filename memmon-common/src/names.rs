//! Names of maps, programs and globals in the eBPF object, spelled once.

/// Read-only global with the [`crate::offsets::KernelFacts`] of the running kernel.
pub const KERNEL_FACTS: &str = "KERNEL_FACTS";
/// Read-only global with the [`crate::offsets::Settings`] of this load.
pub const SETTINGS: &str = "SETTINGS";

/// Per-CPU hash: [`crate::event::SwapOutKey`] to pages.
pub const SWAP_OUT: &str = "SWAP_OUT";
/// Per-CPU array of [`crate::event::OpenRun`], one for each of the [`crate::event::SWAP_OUT_COPIES`].
pub const OPEN_RUN: &str = "OPEN_RUN";
/// Hash: thread id to the folio (an address) that a copy of the swap-out program counted for it last; 0 = none.
pub const HANDLED: &str = "HANDLED";
/// Per-CPU hash: cgroup id to pages written by `__swap_writepage`.
pub const SWAP_WRITE: &str = "SWAP_WRITE";
/// Per-CPU hash: cgroup id to pages read back from swap.
pub const SWAP_READ: &str = "SWAP_READ";
/// Per-CPU array of [`crate::event::total`].
pub const TOTALS: &str = "TOTALS";
/// Hash: cgroup id to [`crate::event::CriticalState`].
pub const CRITICAL: &str = "CRITICAL";
/// Array of `u64`: one bit per cgroup id modulo [`crate::offsets::FILTER_BITS`], set if such an id may be critical.
pub const CRITICAL_FILTER: &str = "CRIT_FILTER";
/// Hash: thread id to [`crate::event::StallStart`].
pub const STALLED: &str = "STALLED";
/// Hash: [`crate::event::StallKey`] to [`crate::event::StallHistogram`].
pub const STALLS: &str = "STALLS";
/// Ring buffer of [`crate::event::SwapOutEvent`].
pub const EVENTS: &str = "EVENTS";
/// Ring buffer of [`crate::event::CgroupEvent`].
pub const CGROUPS: &str = "CGROUPS";

/// Read-only global with the [`crate::page::PageFacts`] of the running kernel.
pub const PAGE_FACTS: &str = "PAGE_FACTS";
/// Array of [`crate::page::TagRange`]: those of every process, each process's in one slice.
pub const TAG_RANGES: &str = "TAG_RANGES";
/// Hash: process id to [`crate::page::ProcessTags`].
pub const TAGGED: &str = "TAGGED";
/// Array of `u64`, by process id modulo [`crate::page::FRONT_SLOTS`]: see [`crate::page::front_entry`].
pub const TAG_FRONT: &str = "TAG_FRONT";
/// Hash: label ([`crate::page::TagRange::label`]) to [`crate::page::RegionState`].
pub const REGIONS: &str = "REGIONS";
/// Per-CPU array of [`crate::page::page_total`].
pub const PAGE_TOTALS: &str = "PAGE_TOTALS";
/// Array of [`crate::page::Unmapping`], by thread id.
pub const UNMAPPING: &str = "UNMAPPING";
/// Ring buffer of [`crate::page::PageRecord`] and [`crate::page::TagsGone`].
pub const PAGES: &str = "PAGES";
