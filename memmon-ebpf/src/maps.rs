//! Maps and read-only globals. Names are those of [`memmon_common::names`].

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use memmon_common::{
    event::{
        COPY_SHIFT, CriticalState, OpenRun, SWAP_OUT_COPIES, StallHistogram, StallKey, StallStart,
        SwapOutKey, total,
    },
    offsets::{FILTER_BITS, KernelFacts, Settings},
};

/// Replaced by the agent before the object is loaded.
#[unsafe(no_mangle)]
pub(crate) static KERNEL_FACTS: KernelFacts = KernelFacts::UNKNOWN;

/// Replaced by the agent before the object is loaded.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings::DEFAULT;

/// Sized for 4,096 owners with six reclaimers or kinds each, within 8 MiB for all maps on two CPUs; what finds
/// no room goes to `total::OVERFLOW_PAGES`.
#[map]
pub(crate) static SWAP_OUT: PerCpuHashMap<SwapOutKey, u64> = PerCpuHashMap::with_max_entries(24_576, 0);

#[map]
pub(crate) static OPEN_RUN: PerCpuArray<OpenRun> = PerCpuArray::with_max_entries(SWAP_OUT_COPIES, 0);

#[map]
pub(crate) static SWAP_WRITE: PerCpuHashMap<u64, u64> = PerCpuHashMap::with_max_entries(5_120, 0);

#[map]
pub(crate) static SWAP_READ: PerCpuHashMap<u64, u64> = PerCpuHashMap::with_max_entries(5_120, 0);

#[map]
pub(crate) static TOTALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(SWAP_OUT_COPIES * total::COUNT, 0);

/// An entry stays until its thread ends: one look-up for each copy is all that a mark costs. Where a program cannot
/// be preempted the agent makes it as small as it can be.
#[map]
pub(crate) static HANDLED: HashMap<u32, u64> = HashMap::with_max_entries(4_096, 0);

#[map]
pub(crate) static CRITICAL: HashMap<u64, CriticalState> = HashMap::with_max_entries(4_096, 0);

/// Most pages belong to cgroups that are not critical: one inlined array access spares them the hash look-up.
#[map]
#[expect(clippy::cast_possible_truncation, reason = "64 words")]
pub(crate) static CRIT_FILTER: Array<u64> = Array::with_max_entries((FILTER_BITS / 64) as u32, 0);

#[map]
pub(crate) static STALLED: HashMap<u64, StallStart> = HashMap::with_max_entries(4_096, 0);

/// Shared and not per CPU: a stall is long, one atomic addition is nothing to it, and 128 CPUs stay affordable.
#[map]
pub(crate) static STALLS: HashMap<StallKey, StallHistogram> = HashMap::with_max_entries(8_192, 0);

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Apart from `EVENTS`, so that a storm of swap-outs cannot push out the news of a new cgroup.
#[map]
pub(crate) static CGROUPS: RingBuf = RingBuf::with_byte_size(512 * 1024, 0);

/// Reads one field of [`KERNEL_FACTS`]; the verifier knows its value.
macro_rules! fact {
    ($field:ident) => {
        // SAFETY: a field of an initialised static; volatile because the loader rewrites it.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::KERNEL_FACTS.$field) }
    };
}
pub(crate) use fact;

/// Reads one field of [`SETTINGS`].
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: a field of an initialised static; volatile because the loader rewrites it.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::SETTINGS.$field) }
    };
}
pub(crate) use setting;

/// Adds to one of the totals of this CPU.
#[inline(always)]
pub(crate) fn count(total: u32, amount: u64) {
    if let Some(slot) = TOTALS.get_ptr_mut(total) {
        // SAFETY: this CPU's slot. A program is not re-entered on one CPU (the kernel counts a recursion
        // miss instead), and no total that a balance depends on is written by two programs.
        unsafe { *slot = (*slot).wrapping_add(amount) };
    }
}

/// As [`count`], in the set of that copy of the program.
#[inline(always)]
pub(crate) fn count_of<const COPY: u32>(total: u32, amount: u64) {
    count(total + COPY * total::COUNT, amount);
}

/// This CPU's open run. Only this copy of the program writes it, and it is not re-entered on one CPU; see [`count`].
#[inline(always)]
pub(crate) fn open_run<const COPY: u32>() -> Option<*mut OpenRun> {
    OPEN_RUN.get_ptr_mut(COPY)
}

/// The owner of the open run if that is the memory cgroup with this serial number.
#[inline(always)]
pub(crate) fn owner_of_run(run: *mut OpenRun, serial: u64) -> Option<u64> {
    // SAFETY: this CPU's slot; see `open_run`.
    unsafe { (serial != 0 && (*run).serial == serial).then_some((*run).owner) }
}

/// Counts a swap-out: into the open run if it is of the same key, else the run so far goes to the map.
#[inline(always)]
pub(crate) fn count_swap_out<const COPY: u32>(
    run: *mut OpenRun,
    serial: u64,
    owner: u64,
    reclaimer: u64,
    kind: u64,
    pages: u64,
) {
    // SAFETY: this CPU's slot; see `open_run`. Volatile keeps the order of the stores, on which the agent's reading
    // relies.
    unsafe {
        (*run).serial = serial;
        if (*run).owner == owner && (*run).reclaimer == reclaimer && (*run).kind == kind {
            (&raw mut (*run).pages).write_volatile((*run).pages.wrapping_add(pages));
            return;
        }
        let before = *run;
        // Odd until the run is whole again and the last one is in the map: whoever reads it meanwhile, because this
        // CPU was interrupted or this task preempted, takes it for unsettled.
        (&raw mut (*run).sequence).write_volatile(before.sequence.wrapping_add(1));
        (&raw mut (*run).pages).write_volatile(pages);
        (&raw mut (*run).owner).write_volatile(owner);
        (&raw mut (*run).reclaimer).write_volatile(reclaimer);
        (&raw mut (*run).kind).write_volatile(kind);
        if before.pages != 0 {
            let key = SwapOutKey {
                owner: before.owner,
                reclaimer: before.reclaimer,
                kind: before.kind | (COPY as u64) << COPY_SHIFT,
            };
            if !add(&SWAP_OUT, &key, before.pages) {
                count_of::<COPY>(total::OVERFLOW_PAGES, before.pages);
            }
        }
        (&raw mut (*run).sequence).write_volatile(before.sequence.wrapping_add(2));
    }
}

/// Adds `pages` to `key` in a per-CPU counter map; `false` if the map has no room for a new key.
#[inline(always)]
pub(crate) fn add<K>(map: &PerCpuHashMap<K, u64>, key: &K, pages: u64) -> bool {
    if let Some(slot) = map.get_ptr_mut(key) {
        // SAFETY: as in `count`.
        unsafe { *slot = (*slot).wrapping_add(pages) };
        return true;
    }
    add_new(map, key, pages)
}

#[inline(always)]
fn add_new<K>(map: &PerCpuHashMap<K, u64>, key: &K, pages: u64) -> bool {
    const BPF_NOEXIST: u64 = 1;
    if map.insert(key, pages, BPF_NOEXIST).is_ok() {
        return true;
    }
    // Another CPU may have been first.
    match map.get_ptr_mut(key) {
        Some(slot) => {
            // SAFETY: as in `count`.
            unsafe { *slot = (*slot).wrapping_add(pages) };
            true
        }
        None => false,
    }
}

/// Adds to a value that other CPUs add to as well. libcore offers no `fetch_add` for BPF.
///
/// # Safety
/// `slot` is aligned and points into a map value.
#[inline(always)]
pub(crate) unsafe fn atomic_add(slot: *mut u64, amount: u64) {
    // SAFETY: the caller vouches for `slot`; the instruction touches nothing else.
    unsafe {
        #[cfg(target_arch = "bpf")]
        core::arch::asm!("lock *(u64 *)({slot} + 0) += {amount}", slot = in(reg) slot, amount = in(reg) amount);
        #[cfg(not(target_arch = "bpf"))]
        {
            *slot = (*slot).wrapping_add(amount);
        }
    }
}

/// Puts `new` in place of `old` and returns what was there: `old` if it succeeded.
///
/// # Safety
/// As for [`atomic_add`].
#[inline(always)]
pub(crate) unsafe fn atomic_exchange_if(slot: *mut u64, old: u64, new: u64) -> u64 {
    // SAFETY: the caller vouches for `slot`; the instruction touches nothing else.
    unsafe {
        #[cfg(target_arch = "bpf")]
        {
            let found: u64;
            core::arch::asm!(
                "r0 = cmpxchg_64({slot} + 0, r0, {new})",
                slot = in(reg) slot, new = in(reg) new, inout("r0") old => found,
            );
            found
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            let found = *slot;
            if found == old {
                *slot = new;
            }
            found
        }
    }
}
