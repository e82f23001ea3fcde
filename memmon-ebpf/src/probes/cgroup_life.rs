//! Cgroups that come and go, so that an id has a name before its first page is swapped.

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, bpf_probe_read_kernel_str_bytes},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use memmon_common::event::{
    CGROUP_PATH_MAX, CgroupEvent, CriticalState, EventHeader, cgroup_flag, event_kind, total,
};

use crate::{
    emit,
    kread::{self, Typed},
    maps::{self, CGROUPS, CRIT_FILTER, CRITICAL, fact, setting},
};

#[inline(always)]
fn in_memory_hierarchy(cgroup: Typed) -> bool {
    cgroup.follow(fact!(cgroup_root)).u32(fact!(root_hierarchy_id)) == setting!(memory_hierarchy)
}

/// `struct cgroup` embeds a `cgroup_subsys_state` whose `parent` leads to the cgroup above; 0 at the root.
#[inline(always)]
fn parent_id(cgroup: Typed) -> u64 {
    let css = cgroup.follow(fact!(cgroup_parent_css));
    if css.is_null() {
        0
    } else {
        kread::id_of_cgroup(css.follow(fact!(css_cgroup)))
    }
}

/// A cgroup below a critical one is critical from its first page on, without waiting for the agent.
#[inline(always)]
fn inherit(id: u64, parent: u64) -> u32 {
    if !emit::maybe_critical(parent) || CRITICAL.get_ptr(parent).is_none() {
        return 0;
    }
    if CRITICAL
        .insert(
            id,
            CriticalState {
                last_ns: 0,
                suppressed_pages: 0,
            },
            0,
        )
        .is_err()
    {
        maps::count(total::CRITICAL_OVERFLOW, 1);
        return 0;
    }
    let bit = id & (memmon_common::offsets::FILTER_BITS - 1);
    #[expect(clippy::cast_possible_truncation, reason = "below 64")]
    if let Some(word) = CRIT_FILTER.get_ptr_mut((bit >> 6) as u32) {
        // SAFETY: the agent and this program only ever set bits; cgroup_mutex is held by our caller, and
        // the agent writes its own words again after it sees this event.
        unsafe { *word |= 1 << (bit & 63) };
    }
    cgroup_flag::INHERITED_CRITICAL
}

#[inline(always)]
fn send(ctx: &BtfTracePointContext, kind: u32) -> i32 {
    let cgroup = Typed::new(ctx.arg::<*const u8>(0));
    let path: *const u8 = ctx.arg(1);
    if !in_memory_hierarchy(cgroup) {
        return 0;
    }
    let id = kread::id_of_cgroup(cgroup);
    let parent = parent_id(cgroup);
    let mut flags = if kind == event_kind::CGROUP_MKDIR {
        inherit(id, parent)
    } else {
        0
    };
    let Some(mut entry) = CGROUPS.reserve::<CgroupEvent>(0) else {
        maps::count(total::CGROUP_RING_DROPS, 1);
        debug!(ctx, "no room for the record of cgroup {}", id);
        return 0;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points at reserved memory of the right size; every field is written below, `path`
    // by the helper as far as `path_len` says.
    unsafe {
        let buffer = &mut *(&raw mut (*record).path);
        let path_len = bpf_probe_read_kernel_str_bytes(path, buffer).map_or(0, <[u8]>::len);
        if path_len == 0 || path_len >= CGROUP_PATH_MAX - 1 {
            flags |= cgroup_flag::PATH_CUT;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most CGROUP_PATH_MAX")]
        {
            (*record).header = EventHeader {
                kind,
                size: size_of::<CgroupEvent>() as u32,
                ts_ns: bpf_ktime_get_ns(),
            };
            (*record).path_len = path_len as u32;
        }
        (*record).id = id;
        (*record).parent = parent;
        (*record).flags = flags;
    }
    entry.submit(0);
    0
}

/// `cgroup_mkdir(struct cgroup *, const char *path)`.
#[btf_tracepoint]
pub(crate) fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    send(&ctx, event_kind::CGROUP_MKDIR)
}

/// `cgroup_rmdir(struct cgroup *, const char *path)`.
#[btf_tracepoint]
pub(crate) fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    send(&ctx, event_kind::CGROUP_RMDIR)
}

/// `cgroup_release(struct cgroup *, const char *path)`.
#[btf_tracepoint]
pub(crate) fn cgroup_release(ctx: BtfTracePointContext) -> i32 {
    send(&ctx, event_kind::CGROUP_RELEASE)
}
