//! Records and map entries that the eBPF programs produce.

use crate::pod;

/// Longest cgroup path carried by a [`CgroupEvent`], in bytes; longer ones are cut and say so.
pub const CGROUP_PATH_MAX: usize = 512;
/// Length of a kernel task name including the terminating NUL (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
/// Buckets of a [`StallHistogram`]: bucket `i` counts stalls of less than `2^i` microseconds that did not
/// fit the bucket before; the last one takes everything longer.
pub const STALL_BUCKETS: usize = 24;

/// Values of [`EventHeader::kind`].
pub mod event_kind {
    /// A [`super::SwapOutEvent`].
    pub const SWAP_OUT: u32 = 1;
    /// A [`super::CgroupEvent`]: a cgroup was made.
    pub const CGROUP_MKDIR: u32 = 2;
    /// A [`super::CgroupEvent`]: a cgroup was removed; pages of it may still be in memory or swap.
    pub const CGROUP_RMDIR: u32 = 3;
    /// A [`super::CgroupEvent`]: the last reference to a removed cgroup is gone.
    pub const CGROUP_RELEASE: u32 = 4;
    /// A [`crate::page::PageRecord`].
    pub const PAGE: u32 = 5;
    /// A [`crate::page::TagsGone`].
    pub const TAGS_GONE: u32 = 6;
}

/// Who reclaimed a page: the wire values of `reclaimer.kind`.
pub mod reclaim_kind {
    /// The kernel's background reclaim thread.
    pub const KSWAPD: u32 = 1;
    /// The current task, short of free pages on the host.
    pub const DIRECT: u32 = 2;
    /// The limit (`memory.max`, `memory.high`) of the target cgroup.
    pub const LIMIT: u32 = 3;
    /// A write to `memory.reclaim`, or a node's proactive reclaim.
    pub const PROACTIVE: u32 = 4;
    /// `madvise` or `process_madvise` with `MADV_PAGEOUT`.
    pub const MADVISE: u32 = 5;
    /// Limit or proactive reclaim; this kernel cannot tell which.
    pub const MEMCG: u32 = 6;
    /// None of the above (DAMON, hibernation, other kernel threads).
    pub const OTHER: u32 = 7;
}

/// Why a task was stalled: the wire values of [`StallKey::kind`].
pub mod stall_kind {
    /// Direct reclaim for a global shortage.
    pub const DIRECT: u32 = 1;
    /// Reclaim inside a memory cgroup (limit, high, or `memory.reclaim`).
    pub const MEMCG: u32 = 2;
    /// Waiting because reclaim made no progress (`reclaim_throttle`, from 6.1).
    pub const THROTTLED: u32 = 3;
}

/// Indices into the per-CPU array of totals.
pub mod total {
    /// Dirty file pages that the swap-out tracepoint saw (before 6.16 it fires for those as well).
    pub const FILE_PAGES: u32 = 0;
    /// Pages whose counter key found no room: counted here, not lost, but without an owner.
    pub const OVERFLOW_PAGES: u32 = 1;
    /// Pages that have no memory cgroup, or whose chain of pointers could not be read.
    pub const UNATTRIBUTED_PAGES: u32 = 2;
    /// Swap-out records that found the ring buffer full.
    pub const RING_DROPS: u32 = 3;
    /// Cgroup records that found their ring buffer full: the agent must scan the tree again.
    pub const CGROUP_RING_DROPS: u32 = 4;
    /// Stalls that found no room in the map of running stalls or of histograms.
    pub const STALL_OVERFLOW: u32 = 5;
    /// Times kswapd was woken.
    pub const KSWAPD_WAKES: u32 = 6;
    /// Times kswapd went to sleep.
    pub const KSWAPD_SLEEPS: u32 = 7;
    /// Pages of the swap-write and swap-read ledgers whose key found no room.
    pub const LEDGER_OVERFLOW_PAGES: u32 = 8;
    /// New cgroups below a critical one that found no room in the map of critical cgroups.
    pub const CRITICAL_OVERFLOW: u32 = 9;
    /// Events that a later copy of the swap-out program counted because the kernel had not run those before it.
    pub const RECOVERED_EVENTS: u32 = 10;
    /// Events that the first copy of the swap-out program left to the next, since it found no room for its mark.
    pub const PASSED_ON_EVENTS: u32 = 11;
    /// Number of totals. Each of the [`super::SWAP_OUT_COPIES`] has a set of its own, one behind the other.
    pub const COUNT: u32 = 12;
}

/// Flags of [`CgroupEvent::flags`].
pub mod cgroup_flag {
    /// The path did not fit; look the cgroup up in the tree.
    pub const PATH_CUT: u32 = 1;
    /// The parent was critical, so the eBPF program already made this one critical too.
    pub const INHERITED_CRITICAL: u32 = 2;
}

/// First fields of every record in a ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EventHeader {
    /// One of [`event_kind`].
    pub kind: u32,
    /// Size of the whole record in bytes, header included.
    pub size: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds (`bpf_ktime_get_ns`).
    pub ts_ns: u64,
}
pod!(EventHeader, size = 16, align = 8);

/// One folio was handed to swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SwapOutEvent {
    /// Kind [`event_kind::SWAP_OUT`].
    pub header: EventHeader,
    /// Cgroup id of the folio's memory cgroup, in the hierarchy that carries the memory controller.
    pub owner: u64,
    /// Cgroup id of the culprit: of the limit's cgroup for limit reclaim, else of the task; 0 for kswapd.
    pub reclaimer: u64,
    /// Pages of this cgroup that were counted since its last record but got none of their own.
    pub suppressed_pages: u64,
    /// The folio's address in the kernel: good for nothing but comparison with records of the same moment.
    pub folio: u64,
    /// One of [`reclaim_kind`].
    pub reclaim_kind: u32,
    /// Pages of this folio.
    pub pages: u32,
    /// Process id (thread group) of the reclaiming task.
    pub tgid: u32,
    /// Thread id of the reclaiming task.
    pub tid: u32,
    /// Name of the reclaiming task, NUL-padded.
    pub comm: [u8; COMM_LEN],
}
pod!(SwapOutEvent, size = 80, align = 8);

/// A cgroup came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CgroupEvent {
    /// Kind [`event_kind::CGROUP_MKDIR`], `CGROUP_RMDIR` or `CGROUP_RELEASE`.
    pub header: EventHeader,
    /// Cgroup id: the inode number of its directory.
    pub id: u64,
    /// Cgroup id of the parent; 0 if it could not be read.
    pub parent: u64,
    /// Bits of [`cgroup_flag`].
    pub flags: u32,
    /// Bytes of `path` that are used, without the NUL.
    pub path_len: u32,
    /// Path from the root of the hierarchy, `/`-separated.
    pub path: [u8; CGROUP_PATH_MAX],
}
pod!(CgroupEvent, size = 40 + CGROUP_PATH_MAX, align = 8);

/// Key of the swap-out counters; the value is a per-CPU `u64` of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct SwapOutKey {
    /// As [`SwapOutEvent::owner`].
    pub owner: u64,
    /// As [`SwapOutEvent::reclaimer`].
    pub reclaimer: u64,
    /// One of [`reclaim_kind`], widened so that the key has no padding.
    pub kind: u64,
}
pod!(SwapOutKey, size = 24, align = 8);

/// How often the swap-out program exists. The kernel skips a program on a CPU where it was interrupted; each
/// copy counts what it skipped of all before.
pub const SWAP_OUT_COPIES: u32 = 3;
/// Where in [`SwapOutKey::kind`] the copy's number is, from 0: one copy may interrupt another on the same CPU, so
/// no two may ever add to the same value.
pub const COPY_SHIFT: u32 = 32;
/// Pages of the key that a CPU saw last, not yet added to the map of counters.
///
/// Reclaim takes many pages of one cgroup in a row; adding them up here spares each a hash look-up. The
/// agent adds the open run of every CPU to what it reads from the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OpenRun {
    /// Grows by one before another key begins and by one when it has begun and the last is in the map: a reader
    /// that sees the same even number before and after has seen a consistent run.
    pub sequence: u64,
    /// As in [`SwapOutKey`]; 0 = no run yet.
    pub owner: u64,
    /// As in [`SwapOutKey`].
    pub reclaimer: u64,
    /// As in [`SwapOutKey`].
    pub kind: u64,
    /// Pages so far.
    pub pages: u64,
    /// The `serial_nr` of the memory cgroup that `owner` was last found by; 0 = not known.
    pub serial: u64,
}
pod!(OpenRun, size = 48, align = 8);

/// What the eBPF program keeps per critical cgroup; the agent inserts it zeroed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CriticalState {
    /// Time of the last record, nanoseconds of `CLOCK_MONOTONIC`; 0 = none yet.
    pub last_ns: u64,
    /// Pages counted since then without a record.
    pub suppressed_pages: u64,
}
pod!(CriticalState, size = 16, align = 8);

/// Key of the stall histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct StallKey {
    /// Cgroup id of the stalled task.
    pub cgroup: u64,
    /// One of [`stall_kind`], widened so that the key has no padding.
    pub kind: u64,
}
pod!(StallKey, size = 16, align = 8);

/// A task that is inside reclaim at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StallStart {
    /// When reclaim began, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// One of [`stall_kind`], widened so that there is no padding.
    pub kind: u64,
}
pod!(StallStart, size = 16, align = 8);

/// Log2 histogram of stall times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StallHistogram {
    /// Sum of all stalls, nanoseconds.
    pub sum_ns: u64,
    /// See [`STALL_BUCKETS`].
    pub buckets: [u64; STALL_BUCKETS],
}
pod!(StallHistogram, size = 8 + 8 * STALL_BUCKETS, align = 8);

impl StallHistogram {
    /// A histogram that has seen nothing.
    pub const EMPTY: Self = Self {
        sum_ns: 0,
        buckets: [0; STALL_BUCKETS],
    };
}
