//! What the eBPF programs must know about the running kernel, found in its BTF at start.

use crate::pod;

/// Marks an offset or value that this kernel does not have. Never 0, which is a valid offset.
pub const ABSENT: u32 = u32::MAX;
/// Helper number, used by no kernel, of the calls that the agent turns into calls of the kernel function
/// `bpf_rdonly_cast` before it loads the object. Where the kernel has no such function they are dead code.
pub const RDONLY_CAST_MARK: u32 = 0x4d4d_0001;
/// Bits in the filter in front of the map of critical cgroups.
pub const FILTER_BITS: u64 = 4096;

/// Byte offsets, bit numbers and constants of the running kernel; [`ABSENT`] where it has no such thing.
///
/// Passed as a read-only global, so the verifier sees constants and removes the branches they decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KernelFacts {
    /// `folio.flags` (or `page.flags`).
    pub folio_flags: u32,
    /// `folio.memcg_data` (or `page.memcg_data`).
    pub folio_memcg_data: u32,
    /// The `u32` page count of a large folio: `_nr_pages`, `_folio_nr_pages`, or `compound_nr` of `page[1]`.
    pub folio_nr_pages: u32,
    /// Bit number of `PG_head`.
    pub pg_head: u32,
    /// Bit number of `PG_swapbacked`.
    pub pg_swapbacked: u32,
    /// `obj_cgroup.memcg`, if `folio.memcg_data` points at an `obj_cgroup` (from 7.1); else [`ABSENT`].
    pub objcg_memcg: u32,
    /// `mem_cgroup.css.cgroup`.
    pub memcg_cgroup: u32,
    /// `mem_cgroup.css.serial_nr`: never given twice, so that it names a memory cgroup for ever, which its address does not.
    pub memcg_serial: u32,
    /// `cgroup.kn`.
    pub cgroup_kn: u32,
    /// `cgroup.root`.
    pub cgroup_root: u32,
    /// `cgroup.self.parent`.
    pub cgroup_parent_css: u32,
    /// `cgroup_subsys_state.cgroup`.
    pub css_cgroup: u32,
    /// `cgroup_root.hierarchy_id`.
    pub root_hierarchy_id: u32,
    /// `kernfs_node.id`.
    pub kn_id: u32,
    /// `task_struct.flags`.
    pub task_flags: u32,
    /// `task_struct.cgroups`.
    pub task_cgroups: u32,
    /// `task_struct.reclaim_state`.
    pub task_reclaim_state: u32,
    /// `css_set.subsys[memory_cgrp_id]`, index already applied.
    pub css_set_memory: u32,
    /// `scan_control.reclaim_state`: where the structure that the task points at sits in its `scan_control`.
    pub sc_reclaim_state: u32,
    /// `scan_control.target_mem_cgroup`.
    pub sc_target: u32,
    /// Byte that holds the bit field `scan_control.proactive` (from 6.1).
    pub sc_proactive: u32,
    /// Bit of `scan_control.proactive` within that byte.
    pub sc_proactive_bit: u32,
    /// 1 if the kernel has `memory.reclaim` (from 5.19): where `sc_proactive` is absent all the same (before 6.1), a
    /// request cannot be told from a limit.
    pub memory_reclaim: u32,
    /// `pt_regs.orig_ax`, to tell `madvise` from other callers.
    pub regs_syscall: u32,
    /// 1 if a task can be preempted inside a tracepoint (from 7.0): then the kernel skips a program on a CPU
    /// where it was interrupted, and copies of it have to count what it missed.
    pub preemptible: u32,
    /// BTF id of the kernel function `bpf_rdonly_cast` (from 6.2). The agent writes it into the calls that
    /// carry [`RDONLY_CAST_MARK`] as well.
    pub rdonly_cast: u32,
    /// BTF id of `struct mem_cgroup`.
    pub type_mem_cgroup: u32,
    /// BTF id of `struct obj_cgroup`.
    pub type_obj_cgroup: u32,
    /// BTF id of `struct scan_control`.
    pub type_scan_control: u32,
}
pod!(KernelFacts, size = 29 * 4, align = 4);

impl KernelFacts {
    /// A kernel of which nothing is known.
    pub const UNKNOWN: Self = Self {
        folio_flags: ABSENT,
        folio_memcg_data: ABSENT,
        folio_nr_pages: ABSENT,
        pg_head: ABSENT,
        pg_swapbacked: ABSENT,
        objcg_memcg: ABSENT,
        memcg_cgroup: ABSENT,
        memcg_serial: ABSENT,
        cgroup_kn: ABSENT,
        cgroup_root: ABSENT,
        cgroup_parent_css: ABSENT,
        css_cgroup: ABSENT,
        root_hierarchy_id: ABSENT,
        kn_id: ABSENT,
        task_flags: ABSENT,
        task_cgroups: ABSENT,
        task_reclaim_state: ABSENT,
        css_set_memory: ABSENT,
        sc_reclaim_state: ABSENT,
        sc_target: ABSENT,
        sc_proactive: ABSENT,
        sc_proactive_bit: ABSENT,
        memory_reclaim: ABSENT,
        regs_syscall: ABSENT,
        preemptible: ABSENT,
        rdonly_cast: ABSENT,
        type_mem_cgroup: ABSENT,
        type_obj_cgroup: ABSENT,
        type_scan_control: ABSENT,
    };
}

/// What the agent wants of one load of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Shortest time between two records of one critical cgroup, nanoseconds; the first after it is always sent.
    pub critical_interval_ns: u64,
    /// `hierarchy_id` of the cgroup hierarchy that carries the memory controller: 0 for cgroup v2.
    pub memory_hierarchy: u32,
    /// 1: send a record for every swapped-out folio (`memmon trace`); 0: for critical cgroups only.
    pub emit_all: u32,
}
pod!(Settings, size = 16, align = 8);

impl Settings {
    /// The agent on a cgroup v2 host.
    pub const DEFAULT: Self = Self {
        critical_interval_ns: 10_000_000,
        memory_hierarchy: 0,
        emit_all: 0,
    };
}
