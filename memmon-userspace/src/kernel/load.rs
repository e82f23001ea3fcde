//! Loads and attaches what the plan says, and reports what came of it.

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{BtfTracePoint, FEntry, FExit, Program, ProgramError},
};
use memmon_common::{
    names,
    offsets::{ABSENT, KernelFacts, RDONLY_CAST_MARK, Settings},
    page::PageFacts,
    pod,
};

use super::plan::{Attach, HookKind, PlannedHook};

/// The eBPF object that was built with this binary; empty if there was none.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/memmon-ebpf.o"));

const EPERM: i32 = 1;
/// The kernel's own error number for kernels without BPF trampolines; not in user-space headers.
const ENOTSUPP: i32 = 524;

/// Why nothing could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A build without the BPF toolchain.
    #[error("this memmon was built without its eBPF object; build it with `cargo xtask build`")]
    NoObject,
    /// The kernel's BTF, which aya reads for itself.
    #[error("reading the kernel's BTF: {0}")]
    Btf(#[from] aya::BtfError),
    /// Maps could not be created, or the object is damaged.
    #[error(
        "loading the eBPF object: {0}; it needs CAP_BPF and CAP_PERFMON (or root) and enough locked memory"
    )]
    Object(#[from] aya::EbpfError),
    /// A hook without which memmon cannot do its job.
    #[error("{role} ({purpose}) cannot be attached: {reason}")]
    Required {
        /// The role.
        role: &'static str,
        /// What it is for.
        purpose: &'static str,
        /// Why not.
        reason: String,
    },
}

/// How large the maps are to be; `None` = as the object says.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapSizes {
    /// Entries of the swap-out counters.
    pub swap_out: Option<u32>,
    /// Bytes of the ring buffer of swap-out records.
    pub events: Option<u32>,
    /// Bytes of the ring buffer of page records.
    pub pages: Option<u32>,
}

/// Maps of unit level that page level does not use, and the least size each can have.
const UNIT_MAPS: &[(&str, u32)] = &[
    (names::SWAP_OUT, 1),
    (names::SWAP_WRITE, 1),
    (names::SWAP_READ, 1),
    (names::HANDLED, 1),
    (names::CRITICAL, 1),
    (names::STALLED, 1),
    (names::STALLS, 1),
    (names::EVENTS, 4096),
    (names::CGROUPS, 4096),
];
/// The same the other way round.
const PAGE_MAPS: &[(&str, u32)] = &[
    (names::TAG_RANGES, 1),
    (names::TAGGED, 1),
    (names::TAG_FRONT, 1),
    (names::REGIONS, 1),
    (names::UNMAPPING, 1),
    (names::PAGES, 4096),
];

/// What became of one planned hook.
#[derive(Clone, Debug)]
pub struct HookStatus {
    /// As planned.
    pub planned: PlannedHook,
    /// Attached, or why not.
    pub attached: Result<(), String>,
}

/// Loaded programs; dropping it detaches them.
pub struct Loaded {
    /// aya's handle: maps and programs.
    pub ebpf: Ebpf,
    /// One entry per role of the plan.
    pub hooks: Vec<HookStatus>,
}

/// An object whose maps exist, and whose programs can be attached.
pub struct Object {
    /// aya's handle: maps and programs.
    pub ebpf: Ebpf,
    btf: Btf,
}

/// Creates the maps of the page-level programs, apart from those of [`load`].
///
/// # Errors
/// If the object cannot be loaded.
pub fn page_object(
    facts: &KernelFacts,
    pages: &PageFacts,
    settings: &Settings,
    sizes: MapSizes,
) -> Result<Object, LoadError> {
    let mut entries = UNIT_MAPS.to_vec();
    entries.extend(sizes.pages.map(|bytes| (names::PAGES, bytes)));
    object(facts, pages, settings, &entries, 0)
}

fn object(
    facts: &KernelFacts,
    pages: &PageFacts,
    settings: &Settings,
    entries: &[(&'static str, u32)],
    log_level: u8,
) -> Result<Object, LoadError> {
    if OBJECT.is_empty() {
        return Err(LoadError::NoObject);
    }
    let btf = Btf::from_sys_fs()?;
    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global(names::KERNEL_FACTS, pod::bytes_of(facts), true)
        .override_global(names::PAGE_FACTS, pod::bytes_of(pages), true)
        .override_global(names::SETTINGS, pod::bytes_of(settings), true)
        .override_global(aya_log::LEVEL, &log_level, false);
    for &(name, size) in entries {
        loader.map_max_entries(name, size);
    }
    let ebpf = loader.load(&with_casts(OBJECT, facts.rdonly_cast))?;
    Ok(Object { ebpf, btf })
}

impl Object {
    /// Attaches one hook, if the plan has an attachment for it.
    pub fn attach(&mut self, planned: &PlannedHook) -> HookStatus {
        let attached = match &planned.attach {
            Ok(attach) => attach_one(&mut self.ebpf, attach, &self.btf),
            Err(reason) => Err(reason.clone()),
        };
        HookStatus {
            planned: planned.clone(),
            attached,
        }
    }

    /// Takes a hook off again, with `reason` as its status from now on.
    pub fn detach(&mut self, status: &mut HookStatus, reason: String) {
        if let (Ok(()), Ok(attach)) = (&status.attached, &status.planned.attach)
            && let Some(program) = self.ebpf.program_mut(&attach.program)
        {
            // Fails only if it is not loaded.
            let _ = match program {
                Program::FEntry(program) => program.unload(),
                Program::FExit(program) => program.unload(),
                Program::BtfTracePoint(program) => program.unload(),
                _ => Ok(()),
            };
        }
        status.attached = Err(reason);
    }
}

/// Loads the object and attaches every hook that the plan has an attachment for.
///
/// A kernel may have `bpf_rdonly_cast` and yet not let a tracing program call it: then the programs read with
/// `bpf_probe_read_kernel`, which is slower and just as right.
///
/// # Errors
/// If the object cannot be loaded or a required hook cannot be attached. An optional hook that fails is in
/// [`Loaded::hooks`] with its reason.
pub fn load(
    plan: &[PlannedHook],
    facts: &KernelFacts,
    settings: &Settings,
    sizes: MapSizes,
    log_level: u8,
) -> Result<Loaded, LoadError> {
    let refused = match load_once(plan, facts, settings, sizes, log_level) {
        Err(error @ LoadError::Required { .. }) if facts.rdonly_cast != ABSENT => error,
        other => return other,
    };
    let without = KernelFacts {
        rdonly_cast: ABSENT,
        ..*facts
    };
    let loaded = load_once(plan, &without, settings, sizes, log_level).map_err(|_| refused)?;
    tracing::warn!("this kernel refuses typed reads; attribution costs more, and is as exact");
    Ok(loaded)
}

fn load_once(
    plan: &[PlannedHook],
    facts: &KernelFacts,
    settings: &Settings,
    sizes: MapSizes,
    log_level: u8,
) -> Result<Loaded, LoadError> {
    let mut entries = PAGE_MAPS.to_vec();
    entries.extend(sizes.swap_out.map(|entries| (names::SWAP_OUT, entries)));
    entries.extend(sizes.events.map(|bytes| (names::EVENTS, bytes)));
    if facts.preemptible == ABSENT {
        entries.push((names::HANDLED, 1));
    }
    let mut object = object(facts, &PageFacts::UNKNOWN, settings, &entries, log_level)?;
    let mut hooks = Vec::with_capacity(plan.len());
    for planned in plan {
        let status = object.attach(planned);
        if let (true, Err(reason)) = (planned.required, &status.attached) {
            return Err(LoadError::Required {
                role: planned.role,
                purpose: planned.purpose,
                reason: reason.clone(),
            });
        }
        hooks.push(status);
    }
    Ok(Loaded {
        ebpf: object.ebpf,
        hooks,
    })
}

/// Turns the marked calls into calls of the kernel function with this BTF id.
///
/// aya resolves no kernel functions; the instruction differs from a helper call in two fields. Without the
/// function the calls stay as they are: dead code, which the verifier removes.
fn with_casts(object: &[u8], function: u32) -> Vec<u8> {
    const CALL: u8 = 0x85;
    const PSEUDO_KFUNC_CALL: u8 = 2;
    let mut object = object.to_vec();
    if function == ABSENT {
        return object;
    }
    for instruction in object.as_chunks_mut::<8>().0 {
        let [opcode, registers, off @ .., i0, i1, i2, i3] = instruction;
        if *opcode == CALL
            && *registers == 0
            && off.iter().all(|b| *b == 0)
            && u32::from_le_bytes([*i0, *i1, *i2, *i3]) == RDONLY_CAST_MARK
        {
            *registers = PSEUDO_KFUNC_CALL << 4;
            [*i0, *i1, *i2, *i3] = function.to_le_bytes();
        }
    }
    object
}

fn attach_one(ebpf: &mut Ebpf, attach: &Attach, btf: &Btf) -> Result<(), String> {
    let program = ebpf
        .program_mut(&attach.program)
        .ok_or_else(|| format!("the eBPF object has no program {}", attach.program))?;
    let done = match attach.kind {
        HookKind::TpBtf => <&mut BtfTracePoint>::try_from(program).and_then(|program| {
            program.load(attach.target, btf)?;
            program.attach().map(drop)
        }),
        HookKind::Fentry => <&mut FEntry>::try_from(program).and_then(|program| {
            program.load(attach.target, btf)?;
            program.attach().map(drop)
        }),
        HookKind::Fexit => <&mut FExit>::try_from(program).and_then(|program| {
            program.load(attach.target, btf)?;
            program.attach().map(drop)
        }),
    };
    if let (HookKind::Fentry | HookKind::Fexit, Err(ProgramError::LoadError { io_error, .. })) =
        (attach.kind, &done)
        && matches!(io_error.raw_os_error(), Some(EPERM | ENOTSUPP))
    {
        return Err(format!(
            "this kernel does not let fentry and fexit programs be loaded: {io_error}"
        ));
    }
    done.map_err(|error| {
        format!(
            "attaching {} to {}: {}",
            attach.program,
            attach.target,
            chain(&error)
        )
    })
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    // The verifier's log has its verdict at the end; the rest is for a debugger.
    if text.lines().count() > 6 {
        let tail: Vec<&str> = text
            .lines()
            .rev()
            .filter(|line| !line.trim().is_empty())
            .take(5)
            .collect();
        let head = text.lines().next().unwrap_or_default();
        text = format!(
            "{head} … {}",
            tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
        );
    }
    text
}

/// The program of a role, for its statistics.
pub fn program<'a>(ebpf: &'a Ebpf, name: &str) -> Option<&'a Program> {
    ebpf.program(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u32, registers: u8) -> [u8; 8] {
        let [a, b, c, d] = number.to_le_bytes();
        [0x85, registers, 0, 0, a, b, c, d]
    }

    #[test]
    fn only_marked_calls_become_kernel_function_calls() {
        let object: Vec<u8> = [
            call(RDONLY_CAST_MARK, 0),
            call(113, 0),
            call(RDONLY_CAST_MARK, 0x10),
        ]
        .concat();
        let expected: Vec<u8> = [call(65_475, 0x20), call(113, 0), call(RDONLY_CAST_MARK, 0x10)].concat();
        assert_eq!(with_casts(&object, 65_475), expected);
    }

    #[test]
    fn without_the_kernel_function_nothing_changes() {
        let object = call(RDONLY_CAST_MARK, 0).to_vec();
        assert_eq!(with_casts(&object, ABSENT), object);
    }
}
