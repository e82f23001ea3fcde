//! Decides what to attach, from one table of hooks and the facts about this kernel. Pure.

use std::collections::{BTreeMap, BTreeSet};

pub mod pages;

/// How a program hangs on the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// BTF-enabled raw tracepoint: needs the typedef `btf_trace_NAME`.
    TpBtf,
    /// Entry of a kernel function: needs the function in BTF and a kernel with BPF trampolines.
    Fentry,
    /// Exit of a kernel function, with its arguments and result: as [`Self::Fentry`].
    Fexit,
}

/// One way of filling a role.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) kind: HookKind,
    pub(super) target: &'static str,
    /// Name of the program.
    pub(super) program: &'static str,
    /// The index of the folio argument is appended to the name as `_N`.
    pub(super) by_index: bool,
    /// How many arguments the function must have for the program to read them, and its result behind them, right;
    /// `None` if the program relies on no number.
    pub(super) parameters: Option<usize>,
}

/// A job to be done in the kernel, and the ways of doing it, best first.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    pub(super) required: bool,
    pub(super) candidates: &'static [Candidate],
    /// Facts without which the program must not be attached.
    pub(super) needs: &'static [&'static str],
}

/// Fact, present if a task can be preempted inside a tracepoint.
pub const PREEMPTIBLE: &str = "tracepoints are preemptible";
/// Fact, present if `folio.memcg_data` points at an `obj_cgroup` instead of a `mem_cgroup` (from 7.1).
pub const OBJCG_OWNS: &str = "folio.memcg_data is an obj_cgroup";
/// Fact: the way from an `obj_cgroup` to its `mem_cgroup`.
pub const OBJCG_MEMCG: &str = "obj_cgroup.memcg";

/// Roles that exist only where a task can be preempted inside a tracepoint.
const COPIES: [&str; 3] = ["swap_out_again", "swap_out_third", "thread_exit"];

pub(super) const fn tp(target: &'static str, program: &'static str) -> Candidate {
    Candidate {
        kind: HookKind::TpBtf,
        target,
        program,
        by_index: false,
        parameters: None,
    }
}

const fn fentry(target: &'static str, program: &'static str) -> Candidate {
    Candidate {
        kind: HookKind::Fentry,
        target,
        program,
        by_index: true,
        parameters: None,
    }
}

const FOLIO: &[&str] = &[
    "folio.flags",
    "folio.memcg_data",
    "folio.nr_pages",
    "PG_head",
    "mem_cgroup.css.cgroup",
    "cgroup.kn",
    "kernfs_node.id",
];
const SWAP_OUT: &[&str] = &[
    "folio.flags",
    "folio.memcg_data",
    "folio.nr_pages",
    "PG_head",
    "PG_swapbacked",
    "mem_cgroup.css.cgroup",
    "cgroup.kn",
    "kernfs_node.id",
    "task_struct.flags",
    "task_struct.cgroups",
    "task_struct.reclaim_state",
    "css_set.subsys[memory]",
    "cgroup_subsys_state.cgroup",
];
const TASK: &[&str] = &[
    "task_struct.cgroups",
    "css_set.subsys[memory]",
    "cgroup_subsys_state.cgroup",
    "cgroup.kn",
    "kernfs_node.id",
];
const CGROUP: &[&str] = &[
    "cgroup.kn",
    "cgroup.root",
    "cgroup.self.parent",
    "cgroup_root.hierarchy_id",
    "cgroup_subsys_state.cgroup",
    "kernfs_node.id",
];

const ROLES: &[Role] = &[
    Role {
        name: "swap_out",
        purpose: "attributes every swapped-out page to its owner",
        required: true,
        candidates: &[
            tp("mm_vmscan_write_folio", "swap_out"),
            tp("mm_vmscan_writepage", "swap_out"),
        ],
        needs: SWAP_OUT,
    },
    Role {
        name: "swap_out_again",
        purpose: "counts what preemption made the first program miss",
        required: false,
        candidates: &[
            tp("mm_vmscan_write_folio", "swap_out_again"),
            tp("mm_vmscan_writepage", "swap_out_again"),
        ],
        needs: SWAP_OUT,
    },
    Role {
        name: "swap_out_third",
        purpose: "counts what preemption made the first two programs miss",
        required: false,
        candidates: &[
            tp("mm_vmscan_write_folio", "swap_out_third"),
            tp("mm_vmscan_writepage", "swap_out_third"),
        ],
        needs: SWAP_OUT,
    },
    Role {
        name: "thread_exit",
        purpose: "forgets what those copies know of a thread",
        required: false,
        candidates: &[tp("sched_process_exit", "thread_exit")],
        needs: &[],
    },
    Role {
        name: "cgroup_mkdir",
        purpose: "names a new cgroup before its first page is swapped",
        required: false,
        candidates: &[tp("cgroup_mkdir", "cgroup_mkdir")],
        needs: CGROUP,
    },
    Role {
        name: "cgroup_rmdir",
        purpose: "tells that a cgroup is gone",
        required: false,
        candidates: &[tp("cgroup_rmdir", "cgroup_rmdir")],
        needs: CGROUP,
    },
    Role {
        name: "cgroup_release",
        purpose: "tells that the kernel forgot a cgroup",
        required: false,
        candidates: &[tp("cgroup_release", "cgroup_release")],
        needs: CGROUP,
    },
    Role {
        name: "direct_reclaim_begin",
        purpose: "stall time in direct reclaim",
        required: false,
        candidates: &[tp("mm_vmscan_direct_reclaim_begin", "direct_begin")],
        needs: TASK,
    },
    Role {
        name: "direct_reclaim_end",
        purpose: "stall time in direct reclaim",
        required: false,
        candidates: &[tp("mm_vmscan_direct_reclaim_end", "direct_end")],
        needs: TASK,
    },
    Role {
        name: "memcg_reclaim_begin",
        purpose: "stall time in cgroup reclaim",
        required: false,
        candidates: &[tp("mm_vmscan_memcg_reclaim_begin", "memcg_begin")],
        needs: TASK,
    },
    Role {
        name: "memcg_reclaim_end",
        purpose: "stall time in cgroup reclaim",
        required: false,
        candidates: &[tp("mm_vmscan_memcg_reclaim_end", "memcg_end")],
        needs: TASK,
    },
    Role {
        name: "throttled",
        purpose: "stall time while reclaim makes no progress",
        required: false,
        candidates: &[tp("mm_vmscan_throttled", "throttled")],
        needs: TASK,
    },
    Role {
        name: "kswapd_wake",
        purpose: "counts kswapd's wake-ups",
        required: false,
        candidates: &[tp("mm_vmscan_kswapd_wake", "kswapd_wake")],
        needs: &[],
    },
    Role {
        name: "kswapd_sleep",
        purpose: "counts kswapd's sleeps",
        required: false,
        candidates: &[tp("mm_vmscan_kswapd_sleep", "kswapd_sleep")],
        needs: &[],
    },
    Role {
        name: "swap_write",
        purpose: "second ledger: pages written to a swap device (pswpout)",
        required: false,
        candidates: &[fentry("__swap_writepage", "swap_write")],
        needs: FOLIO,
    },
    Role {
        name: "swap_read",
        purpose: "pages read back from swap (pswpin and its zswap and zero shares)",
        required: false,
        candidates: &[
            fentry("swap_read_folio", "swap_read"),
            fentry("swap_readpage", "swap_read"),
        ],
        needs: FOLIO,
    },
];

/// What `probe` found out about this kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Values by name; `None` = looked for and absent.
    pub values: BTreeMap<&'static str, Option<u32>>,
    /// BTF tracepoints of [`targets`] that exist.
    pub tracepoints: BTreeSet<String>,
    /// Functions of [`targets`] that exist, with the index of their folio (or page) argument.
    pub functions: BTreeMap<String, Option<u32>>,
    /// How many arguments each of those has.
    pub parameters: BTreeMap<String, usize>,
    /// Why no fentry program can be loaded, if that is known beforehand.
    pub no_fentry: Option<String>,
}

impl Facts {
    /// A value, if this kernel has it.
    pub fn value(&self, name: &str) -> Option<u32> {
        self.values.get(name).copied().flatten()
    }
}

/// A decision for one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHook {
    /// Name of the role.
    pub role: &'static str,
    /// What it is for, in words.
    pub purpose: &'static str,
    /// Without it memmon cannot do its job at all.
    pub required: bool,
    /// What to attach, or why nothing can be.
    pub attach: Result<Attach, String>,
}

/// One program on one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// How.
    pub kind: HookKind,
    /// Name of the program in the object.
    pub program: String,
    /// Tracepoint or function.
    pub target: &'static str,
    /// An earlier candidate was passed over.
    pub fallback: bool,
}

/// Every tracepoint and function the table mentions.
pub fn targets() -> impl Iterator<Item = (HookKind, &'static str)> {
    ROLES
        .iter()
        .chain(pages::ROLES)
        .flat_map(|role| role.candidates)
        .map(|c| (c.kind, c.target))
}

/// Decides for every role.
pub fn plan(facts: &Facts) -> Vec<PlannedHook> {
    ROLES
        .iter()
        // Where a program is never interrupted by itself, copies would only cost.
        .filter(|role| !COPIES.contains(&role.name) || facts.value(PREEMPTIBLE).is_some())
        .map(|role| decide(role, facts))
        .collect()
}

fn decide(role: &Role, facts: &Facts) -> PlannedHook {
    PlannedHook {
        role: role.name,
        purpose: role.purpose,
        required: role.required,
        attach: choose(role, facts),
    }
}

fn choose(role: &Role, facts: &Facts) -> Result<Attach, String> {
    let mut missing: Vec<&str> = role
        .needs
        .iter()
        .copied()
        .filter(|name| facts.value(name).is_none())
        .collect();
    // Reading an obj_cgroup as a mem_cgroup would name a wrong owner for every page.
    if role.needs.contains(&"folio.memcg_data")
        && facts.value(OBJCG_OWNS).is_some()
        && facts.value(OBJCG_MEMCG).is_none()
    {
        missing.push(OBJCG_MEMCG);
    }
    if !missing.is_empty() {
        return Err(format!("this kernel's BTF does not have {}", missing.join(", ")));
    }
    let mut reasons = Vec::new();
    for (index, candidate) in role.candidates.iter().enumerate() {
        match usable(candidate, facts) {
            Ok(program) => {
                return Ok(Attach {
                    kind: candidate.kind,
                    program,
                    target: candidate.target,
                    fallback: index > 0,
                });
            }
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons.join("; "))
}

fn usable(candidate: &Candidate, facts: &Facts) -> Result<String, String> {
    let target = candidate.target;
    match candidate.kind {
        HookKind::TpBtf if facts.tracepoints.contains(target) => Ok(candidate.program.to_owned()),
        HookKind::TpBtf => Err(format!("no BTF tracepoint {target}")),
        HookKind::Fentry | HookKind::Fexit => {
            if let Some(reason) = &facts.no_fentry {
                return Err(reason.clone());
            }
            let arguments = facts.parameters.get(target).copied();
            match facts.functions.get(target) {
                None => Err(format!("no function {target} in BTF")),
                Some(_) if candidate.parameters.is_some() && arguments != candidate.parameters => {
                    let words = |count: Option<usize>| count.map_or("unknown".to_owned(), |n| n.to_string());
                    Err(format!(
                        "{target} has another number of arguments ({}) than was foreseen ({})",
                        words(arguments),
                        words(candidate.parameters)
                    ))
                }
                Some(_) if !candidate.by_index => Ok(candidate.program.to_owned()),
                Some(Some(index @ (0 | 1))) => Ok(format!("{}_{index}", candidate.program)),
                Some(Some(index)) => Err(format!(
                    "{target} has its folio as argument {index}, where none was foreseen"
                )),
                Some(None) => Err(format!("{target} has no folio or page argument")),
            }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
