//! Reading kernel structures by the offsets in [`KernelFacts`](memmon_common::offsets::KernelFacts).
//!
//! [`Typed`] pointers are those whose type the verifier knows: tracepoint arguments, the current task, what
//! these lead to, and any address given to `bpf_rdonly_cast` (from 6.2). They are read by plain loads, which
//! the kernel guards itself and which cost next to nothing. Where there is no `bpf_rdonly_cast`, the owner's
//! chain is read with `bpf_probe_read_kernel` instead, at some 20 ns a step.

use aya_ebpf::{
    EbpfContext,
    bindings::task_struct,
    helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
};
use memmon_common::{
    event::{reclaim_kind, stall_kind},
    offsets::{ABSENT, RDONLY_CAST_MARK},
};

use crate::{
    maps::{STALLED, fact},
    page_maps::page_fact,
};

const PF_KSWAPD: u32 = 0x0002_0000;
const PF_KTHREAD: u32 = 0x0020_0000;
/// x86-64 system call numbers that end in `MADV_PAGEOUT`.
const SYS_MADVISE: u64 = 28;
const SYS_PROCESS_MADVISE: u64 = 440;
/// Low bits of `memcg_data` that are flags.
const MEMCG_FLAGS: u64 = 7;

/// A kernel pointer whose type the verifier knows.
#[derive(Clone, Copy)]
pub(crate) struct Typed(*const u8);

impl Typed {
    pub(crate) fn new<T>(pointer: *const T) -> Self {
        Self(pointer.cast())
    }

    /// Loads the `u64` at `offset`.
    #[inline(always)]
    pub(crate) fn u64(self, offset: u32) -> u64 {
        // SAFETY: the verifier checked type and offset and guards the load against faults.
        unsafe { self.0.add(offset as usize).cast::<u64>().read_volatile() }
    }

    /// Loads the `u32` at `offset`.
    #[inline(always)]
    pub(crate) fn u32(self, offset: u32) -> u32 {
        // SAFETY: as in `u64`.
        unsafe { self.0.add(offset as usize).cast::<u32>().read_volatile() }
    }

    /// Loads the byte at `offset`.
    #[inline(always)]
    fn u8(self, offset: u32) -> u8 {
        // SAFETY: as in `u64`.
        unsafe { self.0.add(offset as usize).read_volatile() }
    }

    /// Follows the pointer at `offset`; the verifier knows the type of what it points at.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u32) -> Self {
        // SAFETY: as in `u64`.
        Self(unsafe { self.0.add(offset as usize).cast::<*const u8>().read_volatile() })
    }

    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    #[inline(always)]
    pub(crate) fn addr(self) -> u64 {
        self.0 as u64
    }
}

/// Reads a `T` at `base + offset`; `None` if the address is not readable.
#[inline(always)]
pub(crate) fn peek<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// Whether [`cast`] may be called: the verifier removes whatever depends on it where not.
#[inline(always)]
pub(crate) fn can_cast() -> bool {
    fact!(rdonly_cast) != ABSENT
}

/// Tells the verifier that `address` points at the structure with this BTF id. Costs one register move.
#[inline(always)]
pub(crate) fn cast(address: u64, type_id: u32) -> Typed {
    // SAFETY: a call by number, as for helpers; the agent replaces the number by the kernel function's. Any
    // address will do: loads through the result are guarded.
    let rdonly_cast: extern "C" fn(*const u8, u32) -> *const u8 =
        unsafe { core::mem::transmute(RDONLY_CAST_MARK as usize) };
    Typed(rdonly_cast(address as *const u8, type_id))
}

/// Loads the `u64` at `address + offset` as a plain number, whatever it is; 0 if it cannot be read.
///
/// A pointer that the verifier knows as one may not be masked, and makes every step of a loop a new case to
/// it. The registers of `pt_regs` are numbers: each address is taken for the first of them.
#[inline(always)]
pub(crate) fn load(address: u64, offset: u32) -> u64 {
    if can_cast() {
        cast(
            address.wrapping_add(u64::from(offset)),
            page_fact!(type_registers),
        )
        .u64(0)
    } else {
        peek(address, offset).unwrap_or(0)
    }
}

/// As [`load`], of a `u32`.
#[inline(always)]
pub(crate) fn load_u32(address: u64, offset: u32) -> u32 {
    if can_cast() {
        cast(
            address.wrapping_add(u64::from(offset)),
            page_fact!(type_registers),
        )
        .u32(0)
    } else {
        peek(address, offset).unwrap_or(0)
    }
}

/// The memory cgroup a folio is charged to, as an address; 0 if none.
#[inline(always)]
pub(crate) fn memcg_of_folio(folio: Typed) -> u64 {
    let data = folio.u64(fact!(folio_memcg_data)) & !MEMCG_FLAGS;
    if data == 0 {
        return 0;
    }
    let objcg_memcg = fact!(objcg_memcg);
    if objcg_memcg == ABSENT {
        data
    } else if can_cast() {
        cast(data, fact!(type_obj_cgroup)).u64(objcg_memcg)
    } else {
        peek(data, objcg_memcg).unwrap_or(0)
    }
}

/// The cgroup id of a memory cgroup; 0 if it cannot be read.
#[inline(always)]
pub(crate) fn id_of_memcg(memcg: u64) -> u64 {
    if can_cast() {
        return id_of_cgroup(cast(memcg, fact!(type_mem_cgroup)).follow(fact!(memcg_cgroup)));
    }
    let Some(cgroup) = peek::<u64>(memcg, fact!(memcg_cgroup)) else {
        return 0;
    };
    let Some(kn) = peek::<u64>(cgroup, fact!(cgroup_kn)) else {
        return 0;
    };
    peek(kn, fact!(kn_id)).unwrap_or(0)
}

/// What names a memory cgroup for ever; 0 if that cannot be read.
#[inline(always)]
pub(crate) fn serial_of_memcg(memcg: u64) -> u64 {
    if fact!(memcg_serial) == ABSENT {
        0
    } else if can_cast() {
        cast(memcg, fact!(type_mem_cgroup)).u64(fact!(memcg_serial))
    } else {
        peek(memcg, fact!(memcg_serial)).unwrap_or(0)
    }
}

/// The id of a cgroup the verifier knows.
#[inline(always)]
pub(crate) fn id_of_cgroup(cgroup: Typed) -> u64 {
    cgroup.follow(fact!(cgroup_kn)).u64(fact!(kn_id))
}

/// Pages of a folio: a large one says so itself.
#[inline(always)]
pub(crate) fn pages_of_folio(folio: Typed, flags: u64) -> u64 {
    if flags & (1 << (fact!(pg_head) & 63)) == 0 {
        return 1;
    }
    match peek::<u32>(folio.addr(), fact!(folio_nr_pages)) {
        Some(pages) if pages > 0 => u64::from(pages),
        _ => 1,
    }
}

/// The running task.
#[inline(always)]
pub(crate) fn current() -> Typed {
    // SAFETY: always valid in a tracing program.
    let task: *const task_struct = unsafe { bpf_get_current_task_btf() };
    Typed::new(task)
}

/// The id of the memory cgroup that a task belongs to.
#[inline(always)]
pub(crate) fn memcg_id_of_task(task: Typed) -> u64 {
    id_of_css(css_of_task(task))
}

/// As [`memcg_id_of_task`], without the rest of the way where the task belongs to the owner of the page.
#[inline(always)]
fn memcg_id_of(task: Typed, owner: u64, owner_id: u64) -> u64 {
    let css = css_of_task(task);
    // A `mem_cgroup` holds its `cgroup_subsys_state`: where, the offsets of one and the same pointer in both tell.
    let css_of_owner = owner
        .wrapping_add(u64::from(fact!(memcg_cgroup)))
        .wrapping_sub(u64::from(fact!(css_cgroup)));
    if css.addr() == css_of_owner {
        owner_id
    } else {
        id_of_css(css)
    }
}

/// The `cgroup_subsys_state` of the memory controller that a task belongs to.
#[inline(always)]
fn css_of_task(task: Typed) -> Typed {
    task.follow(fact!(task_cgroups)).follow(fact!(css_set_memory))
}

#[inline(always)]
fn id_of_css(css: Typed) -> u64 {
    id_of_cgroup(css.follow(fact!(css_cgroup)))
}

/// Who is reclaiming: one of `reclaim_kind`, and the culprit's cgroup id (0 for none).
#[derive(Clone, Copy)]
pub(crate) struct Culprit {
    pub(crate) kind: u32,
    pub(crate) cgroup: u64,
}

/// Finds out on whose behalf the current task reclaims.
///
/// The task points at the `reclaim_state` inside the `scan_control` of the reclaim it is in, and that names
/// the cgroup whose limit was hit and whether somebody asked for it. `owner` and `owner_id` spare a second
/// walk when a unit reclaims from itself.
#[inline(always)]
pub(crate) fn culprit(ctx: &impl EbpfContext, task: Typed, owner: u64, owner_id: u64) -> Culprit {
    let flags = task.u32(fact!(task_flags));
    if flags & PF_KSWAPD != 0 {
        return Culprit {
            kind: reclaim_kind::KSWAPD,
            cgroup: 0,
        };
    }
    let state = task.u64(fact!(task_reclaim_state));
    if state == 0 {
        return Culprit {
            kind: advised(task, flags),
            cgroup: memcg_id_of(task, owner, owner_id),
        };
    }
    if fact!(sc_target) == ABSENT || fact!(sc_reclaim_state) == ABSENT {
        return bracketed(ctx, task, owner, owner_id);
    }
    let control = state - u64::from(fact!(sc_reclaim_state));
    let (proactive, target) = if can_cast() {
        let control = cast(control, fact!(type_scan_control));
        let byte = if fact!(sc_proactive) == ABSENT {
            0
        } else {
            control.u8(fact!(sc_proactive))
        };
        (byte, control.u64(fact!(sc_target)))
    } else {
        let byte = if fact!(sc_proactive) == ABSENT {
            None
        } else {
            peek(control, fact!(sc_proactive))
        };
        (byte.unwrap_or(0), peek(control, fact!(sc_target)).unwrap_or(0))
    };
    if proactive & (1 << (fact!(sc_proactive_bit) & 7)) != 0 {
        return Culprit {
            kind: reclaim_kind::PROACTIVE,
            cgroup: memcg_id_of(task, owner, owner_id),
        };
    }
    if target == 0 {
        Culprit {
            kind: reclaim_kind::DIRECT,
            cgroup: memcg_id_of(task, owner, owner_id),
        }
    } else if fact!(sc_proactive) == ABSENT && fact!(memory_reclaim) != ABSENT {
        Culprit {
            kind: reclaim_kind::MEMCG,
            cgroup: memcg_id_of(task, owner, owner_id),
        }
    } else if target == owner {
        Culprit {
            kind: reclaim_kind::LIMIT,
            cgroup: owner_id,
        }
    } else {
        Culprit {
            kind: reclaim_kind::LIMIT,
            cgroup: id_of_memcg(target),
        }
    }
}

/// Reclaim without a `reclaim_state`: `MADV_PAGEOUT` by a process, or DAMON.
#[inline(always)]
fn advised(task: Typed, flags: u32) -> u32 {
    if flags & PF_KTHREAD != 0 || fact!(regs_syscall) == ABSENT {
        return reclaim_kind::OTHER;
    }
    // SAFETY: `task` is the running task, as the helper demands; the verifier knows what it returns.
    let regs = Typed(unsafe { bpf_task_pt_regs(task.0.cast_mut().cast()) } as *const u8);
    match regs.u64(fact!(regs_syscall)) {
        SYS_MADVISE | SYS_PROCESS_MADVISE => reclaim_kind::MADVISE,
        _ => reclaim_kind::OTHER,
    }
}

/// Without `scan_control` in the BTF: the reclaim the task has begun, if we saw it begin.
#[inline(always)]
fn bracketed(ctx: &impl EbpfContext, task: Typed, owner: u64, owner_id: u64) -> Culprit {
    let cgroup = memcg_id_of(task, owner, owner_id);
    // SAFETY: a copy is taken at once; entries are only removed by the same task.
    let kind = match unsafe { STALLED.get(u64::from(ctx.pid())) } {
        Some(start) if start.kind == u64::from(stall_kind::DIRECT) => reclaim_kind::DIRECT,
        Some(_) => reclaim_kind::MEMCG,
        None => reclaim_kind::OTHER,
    };
    Culprit { kind, cgroup }
}
