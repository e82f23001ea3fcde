//! The hooks of page level: attached when somebody asks for pages, apart from all others.

use super::{Candidate, Facts, HookKind, PlannedHook, Role, decide, tp};

/// Role of the program that notes where the kernel is looking.
pub const PAGE_UNMAP: &str = "page_unmap";
/// Role of the program that takes it for true.
pub const PAGE_COMMIT: &str = "page_commit";
/// Role of the approximate way, for when one of those two cannot be attached.
pub const PAGE_WALK: &str = "page_walk";

/// How well page level can tell the process and the address of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageLevel {
    /// The page table was seen to change.
    Exact,
    /// Derived from the reverse mapping after the fact: a child that has copied the page since its fork is named
    /// as well, and a page whose mappings are just going away may be missed.
    Approximate,
}

impl PageLevel {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Approximate => "approximate",
        }
    }
}

const fn exit(target: &'static str, program: &'static str, parameters: usize) -> Candidate {
    Candidate {
        kind: HookKind::Fexit,
        target,
        program,
        by_index: false,
        parameters: Some(parameters),
    }
}

const UNMAP: &[Candidate] = &[Candidate {
    kind: HookKind::Fentry,
    target: "try_to_unmap_one",
    program: "page_unmap",
    by_index: false,
    parameters: None,
}];

const EXACT: &[&str] = &[
    "folio.flags",
    "folio.memcg_data",
    "folio.nr_pages",
    "folio.index",
    "folio.private",
    "size of page",
    "PG_head",
    "PG_swapbacked",
    "PG_swapcache",
    "mem_cgroup.css.cgroup",
    "cgroup.kn",
    "kernfs_node.id",
    "vm_area_struct.vm_start",
    "vm_area_struct.vm_pgoff",
    "vm_area_struct.vm_mm",
    "mm_struct.owner",
    "task_struct.flags",
    "task_struct.cgroups",
    "task_struct.reclaim_state",
    "task_struct.tgid",
    "task_struct.start_boottime",
    "task_struct.comm",
    "css_set.subsys[memory]",
    "cgroup_subsys_state.cgroup",
];
const WALK: &[&str] = &[
    "folio.flags",
    "folio.memcg_data",
    "folio.nr_pages",
    "folio.mapping",
    "folio.index",
    "PG_head",
    "PG_swapbacked",
    "mem_cgroup.css.cgroup",
    "cgroup.kn",
    "kernfs_node.id",
    "vm_area_struct.vm_start",
    "vm_area_struct.vm_end",
    "vm_area_struct.vm_pgoff",
    "vm_area_struct.vm_mm",
    "mm_struct.owner",
    "mm_struct.mm_users",
    "anon_vma.rb_root",
    "anon_vma_chain.vma",
    "anon_vma_chain.rb",
    "anon_vma_chain.rb.__rb_parent_color",
    "anon_vma_chain.rb.rb_left",
    "anon_vma_chain.rb.rb_right",
    "anon_vma_chain.rb_subtree_last",
    "task_struct.flags",
    "task_struct.cgroups",
    "task_struct.reclaim_state",
    "task_struct.tgid",
    "task_struct.start_boottime",
    "task_struct.comm",
    "css_set.subsys[memory]",
    "cgroup_subsys_state.cgroup",
];
const LIFE: &[&str] = &["task_struct.tgid", "task_struct.signal", "signal_struct.live"];

pub(super) const ROLES: &[Role] = &[
    Role {
        name: "process_exec",
        purpose: "ends the tags of a process that begins another program",
        required: true,
        candidates: &[tp("sched_process_exec", "process_exec")],
        needs: LIFE,
    },
    Role {
        name: "process_exit",
        purpose: "ends the tags of a process that ends",
        required: true,
        candidates: &[tp("sched_process_exit", "process_exit")],
        needs: LIFE,
    },
    Role {
        name: PAGE_UNMAP,
        purpose: "process and address of a page: where the kernel is looking",
        required: false,
        candidates: UNMAP,
        needs: EXACT,
    },
    Role {
        name: PAGE_COMMIT,
        purpose: "process and address of a page: where it has put a swap entry",
        required: false,
        candidates: &[
            exit("swap_duplicate", "page_commit_entry", 1),
            exit("folio_dup_swap", "page_commit_folio", 2),
        ],
        needs: EXACT,
    },
    Role {
        name: PAGE_WALK,
        purpose: "process and address of a page, approximately, from the reverse mapping",
        required: false,
        candidates: &[tp("mm_vmscan_write_folio", "page_walk")],
        needs: WALK,
    },
];

/// Decides for every role of page level. Which of the two ways is taken is known only when the exact one has
/// been tried: that a kernel refuses fentry shows when it is asked.
pub fn plan(facts: &Facts) -> Vec<PlannedHook> {
    ROLES.iter().map(|role| decide(role, facts)).collect()
}
