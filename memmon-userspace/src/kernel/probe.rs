//! Gathers what this kernel has, from its BTF.

use std::{fs, io, path::Path};

use memmon_common::{
    offsets::{ABSENT, KernelFacts},
    page::PageFacts,
};

use super::{
    btf::{Btf, BtfError},
    plan::{self, Facts, HookKind},
};

/// Where the kernel keeps its own BTF.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why nothing is known about this kernel.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The file could not be read.
    #[error(
        "reading the kernel's BTF {path}: {source}; memmon needs a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    Read {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It could be read but not understood.
    #[error("understanding the kernel's BTF {path}: {source}")]
    Parse {
        /// The path.
        path: String,
        /// Why.
        source: BtfError,
    },
}

/// Reads the running kernel's BTF.
///
/// # Errors
/// If there is none, or it cannot be understood.
pub fn read_btf(path: &Path) -> Result<Btf, ProbeError> {
    let data = fs::read(path).map_err(|source| ProbeError::Read {
        path: path.display().to_string(),
        source,
    })?;
    Btf::parse(data).map_err(|source| ProbeError::Parse {
        path: path.display().to_string(),
        source,
    })
}

/// Looks up everything the plan may ask for.
pub fn facts(btf: &Btf) -> Facts {
    let mut facts = Facts {
        values: values(btf).into_iter().chain(page_values(btf)).collect(),
        ..Facts::default()
    };
    for (kind, target) in plan::targets() {
        match kind {
            HookKind::TpBtf => {
                if btf.has_typedef(&format!("btf_trace_{target}")) {
                    facts.tracepoints.insert(target.to_owned());
                }
            }
            HookKind::Fentry | HookKind::Fexit => {
                if btf.has_function(target) {
                    let index = btf.parameter_pointing_at(target, &["folio", "page"]);
                    facts.functions.insert(target.to_owned(), index);
                    facts
                        .parameters
                        .extend(btf.parameters(target).map(|count| (target.to_owned(), count)));
                }
            }
        }
    }
    facts
}

/// Byte offsets unless the name says otherwise. Up to 5.15 folios did not carry these: the page did.
fn values(btf: &Btf) -> Vec<(&'static str, Option<u32>)> {
    let offset =
        |structure: &str, path: &str| btf.member(structure, path).map(super::btf::Member::byte_offset);
    let folio_or_page = |path: &str| offset("folio", path).or_else(|| offset("page", path));
    let memory = btf.enumerator("cgroup_subsys_id", "memory_cgrp_id");
    let proactive = btf.member("scan_control", "proactive").filter(|m| m.bits == 1);
    // The page count of a compound page sat in its second struct page before folios had a field for it.
    let compound_nr = || Some(btf.size_of("page")? + offset("page", "compound_nr")?);
    vec![
        ("folio.flags", folio_or_page("flags")),
        ("folio.memcg_data", folio_or_page("memcg_data")),
        (
            "folio.nr_pages",
            offset("folio", "_nr_pages")
                .or_else(|| offset("folio", "_folio_nr_pages"))
                .or_else(compound_nr),
        ),
        ("PG_head", btf.enumerator("pageflags", "PG_head")),
        ("PG_swapbacked", btf.enumerator("pageflags", "PG_swapbacked")),
        // From 7.1 on folio.memcg_data points at an obj_cgroup, which no flag bit tells. Since then an
        // obj_cgroup can belong to the root, and has this member.
        (plan::OBJCG_OWNS, btf.member("obj_cgroup", "is_root").map(|_| 1)),
        (plan::OBJCG_MEMCG, offset("obj_cgroup", "memcg")),
        ("mem_cgroup.css.cgroup", offset("mem_cgroup", "css.cgroup")),
        ("mem_cgroup.css.serial_nr", offset("mem_cgroup", "css.serial_nr")),
        ("cgroup.kn", offset("cgroup", "kn")),
        ("cgroup.root", offset("cgroup", "root")),
        ("cgroup.self.parent", offset("cgroup", "self.parent")),
        (
            "cgroup_subsys_state.cgroup",
            offset("cgroup_subsys_state", "cgroup"),
        ),
        ("cgroup_root.hierarchy_id", offset("cgroup_root", "hierarchy_id")),
        ("kernfs_node.id", offset("kernfs_node", "id")),
        ("task_struct.flags", offset("task_struct", "flags")),
        ("task_struct.cgroups", offset("task_struct", "cgroups")),
        (
            "task_struct.reclaim_state",
            offset("task_struct", "reclaim_state"),
        ),
        (
            "css_set.subsys[memory]",
            memory.and_then(|index| Some(offset("css_set", "subsys")? + index * 8)),
        ),
        (
            "scan_control.reclaim_state",
            offset("scan_control", "reclaim_state"),
        ),
        (
            "scan_control.target_mem_cgroup",
            offset("scan_control", "target_mem_cgroup"),
        ),
        (
            "scan_control.proactive",
            proactive.map(super::btf::Member::byte_offset),
        ),
        ("scan_control.proactive bit", proactive.map(|m| m.bit_offset % 8)),
        ("memory.reclaim", btf.has_function("memory_reclaim").then_some(1)),
        ("pt_regs.orig_ax", offset("pt_regs", "orig_ax")),
        (plan::PREEMPTIBLE, preemptible_tracepoints(btf).then_some(1)),
        ("bpf_rdonly_cast", btf.function_id("bpf_rdonly_cast")),
        ("type mem_cgroup", btf.struct_id("mem_cgroup")),
        ("type obj_cgroup", btf.struct_id("obj_cgroup")),
        ("type scan_control", btf.struct_id("scan_control")),
    ]
}

/// What page level needs besides, likewise.
fn page_values(btf: &Btf) -> Vec<(&'static str, Option<u32>)> {
    let offset =
        |structure: &str, path: &str| btf.member(structure, path).map(super::btf::Member::byte_offset);
    let folio_or_page = |path: &str| offset("folio", path).or_else(|| offset("page", path));
    vec![
        ("folio.mapping", folio_or_page("mapping")),
        ("PG_swapcache", btf.enumerator("pageflags", "PG_swapcache")),
        ("folio.index", folio_or_page("index")),
        ("folio.private", folio_or_page("private")),
        ("size of page", btf.size_of("page")),
        ("vm_area_struct.vm_start", offset("vm_area_struct", "vm_start")),
        ("vm_area_struct.vm_end", offset("vm_area_struct", "vm_end")),
        ("vm_area_struct.vm_pgoff", offset("vm_area_struct", "vm_pgoff")),
        ("vm_area_struct.vm_mm", offset("vm_area_struct", "vm_mm")),
        ("mm_struct.owner", offset("mm_struct", "owner")),
        ("mm_struct.mm_users", offset("mm_struct", "mm_users")),
        ("task_struct.tgid", offset("task_struct", "tgid")),
        (
            "task_struct.start_boottime",
            offset("task_struct", "start_boottime"),
        ),
        ("task_struct.comm", offset("task_struct", "comm")),
        ("task_struct.signal", offset("task_struct", "signal")),
        ("signal_struct.live", offset("signal_struct", "live")),
        ("anon_vma.rb_root", offset("anon_vma", "rb_root.rb_root.rb_node")),
        ("anon_vma_chain.vma", offset("anon_vma_chain", "vma")),
        ("anon_vma_chain.rb", offset("anon_vma_chain", "rb")),
        (
            "anon_vma_chain.rb.__rb_parent_color",
            offset("anon_vma_chain", "rb.__rb_parent_color"),
        ),
        (
            "anon_vma_chain.rb.rb_left",
            offset("anon_vma_chain", "rb.rb_left"),
        ),
        (
            "anon_vma_chain.rb.rb_right",
            offset("anon_vma_chain", "rb.rb_right"),
        ),
        (
            "anon_vma_chain.rb_subtree_last",
            offset("anon_vma_chain", "rb_subtree_last"),
        ),
        ("type pt_regs", btf.struct_id("pt_regs")),
    ]
}

/// Puts the facts into the form the page-level programs read; `all` = a record for every page.
pub fn page_facts(facts: &Facts, all: bool) -> PageFacts {
    let get = |name: &str| facts.value(name).unwrap_or(ABSENT);
    PageFacts {
        folio_mapping: get("folio.mapping"),
        pg_swapcache: get("PG_swapcache"),
        folio_index: get("folio.index"),
        folio_private: get("folio.private"),
        page_size: get("size of page"),
        vma_start: get("vm_area_struct.vm_start"),
        vma_end: get("vm_area_struct.vm_end"),
        vma_pgoff: get("vm_area_struct.vm_pgoff"),
        vma_mm: get("vm_area_struct.vm_mm"),
        mm_owner: get("mm_struct.owner"),
        mm_users: get("mm_struct.mm_users"),
        task_tgid: get("task_struct.tgid"),
        task_start: get("task_struct.start_boottime"),
        task_comm: get("task_struct.comm"),
        task_signal: get("task_struct.signal"),
        signal_live: get("signal_struct.live"),
        anon_root: get("anon_vma.rb_root"),
        chain_vma: get("anon_vma_chain.vma"),
        chain_node: get("anon_vma_chain.rb"),
        chain_parent: get("anon_vma_chain.rb.__rb_parent_color"),
        chain_left: get("anon_vma_chain.rb.rb_left"),
        chain_right: get("anon_vma_chain.rb.rb_right"),
        chain_last: get("anon_vma_chain.rb_subtree_last"),
        type_registers: get("type pt_regs"),
        all: all.into(),
    }
}

/// Whether tracepoints run under SRCU, and so with preemption on (from 7.0). Up to 6.12 the same SRCU domain
/// served tracepoints in idle code only; those kernels have a function that the later ones lack.
fn preemptible_tracepoints(btf: &Btf) -> bool {
    btf.has_variable("tracepoint_srcu_srcu_data") && !btf.has_function("srcu_free_old_probes")
}

/// Puts the facts into the form the eBPF programs read.
pub fn kernel_facts(facts: &Facts) -> KernelFacts {
    let get = |name: &str| facts.value(name).unwrap_or(ABSENT);
    KernelFacts {
        folio_flags: get("folio.flags"),
        folio_memcg_data: get("folio.memcg_data"),
        folio_nr_pages: get("folio.nr_pages"),
        pg_head: get("PG_head"),
        pg_swapbacked: get("PG_swapbacked"),
        objcg_memcg: if facts.value(plan::OBJCG_OWNS).is_some() {
            get(plan::OBJCG_MEMCG)
        } else {
            ABSENT
        },
        memcg_cgroup: get("mem_cgroup.css.cgroup"),
        memcg_serial: get("mem_cgroup.css.serial_nr"),
        cgroup_kn: get("cgroup.kn"),
        cgroup_root: get("cgroup.root"),
        cgroup_parent_css: get("cgroup.self.parent"),
        css_cgroup: get("cgroup_subsys_state.cgroup"),
        root_hierarchy_id: get("cgroup_root.hierarchy_id"),
        kn_id: get("kernfs_node.id"),
        task_flags: get("task_struct.flags"),
        task_cgroups: get("task_struct.cgroups"),
        task_reclaim_state: get("task_struct.reclaim_state"),
        css_set_memory: get("css_set.subsys[memory]"),
        sc_reclaim_state: get("scan_control.reclaim_state"),
        sc_target: get("scan_control.target_mem_cgroup"),
        sc_proactive: get("scan_control.proactive"),
        sc_proactive_bit: get("scan_control.proactive bit"),
        memory_reclaim: get("memory.reclaim"),
        regs_syscall: get("pt_regs.orig_ax"),
        preemptible: get(plan::PREEMPTIBLE),
        rdonly_cast: get("bpf_rdonly_cast"),
        type_mem_cgroup: get("type mem_cgroup"),
        type_obj_cgroup: get("type obj_cgroup"),
        type_scan_control: get("type scan_control"),
    }
}
