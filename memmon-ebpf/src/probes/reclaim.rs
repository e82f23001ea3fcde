//! Page reclaim: how long whom it stalls. The begin tracepoints serve as timestamps only, since their
//! arguments changed in 7.1.

use aya_ebpf::{
    EbpfContext, helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use memmon_common::event::{STALL_BUCKETS, StallHistogram, StallKey, StallStart, stall_kind, total};

use crate::{
    kread,
    maps::{self, STALLED, STALLS},
};

#[inline(always)]
fn begin(ctx: &BtfTracePointContext, kind: u32) -> i32 {
    // SAFETY: no arguments.
    let start = StallStart {
        ts_ns: unsafe { bpf_ktime_get_ns() },
        kind: u64::from(kind),
    };
    if STALLED.insert(u64::from(ctx.pid()), start, 0).is_err() {
        maps::count(total::STALL_OVERFLOW, 1);
    }
    0
}

#[inline(always)]
fn end(ctx: &BtfTracePointContext) -> i32 {
    let thread = u64::from(ctx.pid());
    // SAFETY: copied at once; only this task removes its entry.
    let Some(StallStart { ts_ns, kind }) = (unsafe { STALLED.get(thread) }).copied() else {
        return 0; // Reclaim began before we were attached.
    };
    if STALLED.remove(thread).is_err() {
        return 0;
    }
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    stalled(kind, now.saturating_sub(ts_ns));
    0
}

/// Adds one stall of the current task's cgroup to its histogram.
#[inline(always)]
fn stalled(kind: u64, ns: u64) {
    let key = StallKey {
        cgroup: kread::memcg_id_of_task(kread::current()),
        kind,
    };
    let mut slot = STALLS.get_ptr_mut(key);
    if slot.is_none() {
        const BPF_NOEXIST: u64 = 1;
        // May fail because another CPU was first: the look-up below tells.
        let _ = STALLS.insert(key, StallHistogram::EMPTY, BPF_NOEXIST);
        slot = STALLS.get_ptr_mut(key);
    }
    let Some(slot) = slot else {
        maps::count(total::STALL_OVERFLOW, 1);
        return;
    };
    let micros = ns / 1000;
    let mut bucket = 0usize;
    while bucket < STALL_BUCKETS - 1 && micros >> bucket != 0 {
        bucket += 1;
    }
    // SAFETY: map memory stays valid while the program runs; all writers use atomic additions.
    unsafe {
        maps::atomic_add(&raw mut (*slot).sum_ns, ns);
        if bucket < STALL_BUCKETS {
            maps::atomic_add((&raw mut (*slot).buckets).cast::<u64>().add(bucket), 1);
        }
    }
}

/// `mm_vmscan_direct_reclaim_begin`.
#[btf_tracepoint]
pub(crate) fn direct_begin(ctx: BtfTracePointContext) -> i32 {
    begin(&ctx, stall_kind::DIRECT)
}

/// `mm_vmscan_direct_reclaim_end`.
#[btf_tracepoint]
pub(crate) fn direct_end(ctx: BtfTracePointContext) -> i32 {
    end(&ctx)
}

/// `mm_vmscan_memcg_reclaim_begin`.
#[btf_tracepoint]
pub(crate) fn memcg_begin(ctx: BtfTracePointContext) -> i32 {
    begin(&ctx, stall_kind::MEMCG)
}

/// `mm_vmscan_memcg_reclaim_end`.
#[btf_tracepoint]
pub(crate) fn memcg_end(ctx: BtfTracePointContext) -> i32 {
    end(&ctx)
}

/// `mm_vmscan_throttled(int nid, int usec_timeout, int usec_delayed, int reason)`.
#[btf_tracepoint]
pub(crate) fn throttled(ctx: BtfTracePointContext) -> i32 {
    let micros: i32 = ctx.arg(2);
    if micros > 0 {
        stalled(
            u64::from(stall_kind::THROTTLED),
            u64::from(micros.unsigned_abs()) * 1000,
        );
    }
    0
}

/// `mm_vmscan_kswapd_wake`.
#[btf_tracepoint]
pub(crate) fn kswapd_wake(_ctx: BtfTracePointContext) -> i32 {
    maps::count(total::KSWAPD_WAKES, 1);
    0
}

/// `mm_vmscan_kswapd_sleep`.
#[btf_tracepoint]
pub(crate) fn kswapd_sleep(_ctx: BtfTracePointContext) -> i32 {
    maps::count(total::KSWAPD_SLEEPS, 1);
    0
}
