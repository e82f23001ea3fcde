//! What this process may do.

use rustix::thread::{CapabilitySet, capabilities};

use super::{ExitCode, Failure};

/// A capability that memmon uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name in capabilities(7).
    pub name: &'static str,
    /// What memmon uses it for.
    pub used_for: &'static str,
    set: CapabilitySet,
}

const BPF: Capability = Capability {
    name: "CAP_BPF",
    used_for: "loading eBPF programs",
    set: CapabilitySet::BPF,
};
const PERFMON: Capability = Capability {
    name: "CAP_PERFMON",
    used_for: "attaching them to the kernel",
    set: CapabilitySet::PERFMON,
};
const SYS_RESOURCE: Capability = Capability {
    name: "CAP_SYS_RESOURCE",
    used_for: "protecting memmon from the OOM killer",
    set: CapabilitySet::SYS_RESOURCE,
};
const IPC_LOCK: Capability = Capability {
    name: "CAP_IPC_LOCK",
    used_for: "locking memmon's memory",
    set: CapabilitySet::IPC_LOCK,
};
const DAC_OVERRIDE: Capability = Capability {
    name: "CAP_DAC_OVERRIDE",
    used_for: "writing cgroup files",
    set: CapabilitySet::DAC_OVERRIDE,
};
const SYS_PTRACE: Capability = Capability {
    name: "CAP_SYS_PTRACE",
    used_for: "reading other processes' memory maps",
    set: CapabilitySet::SYS_PTRACE,
};
const SYS_NICE: Capability = Capability {
    name: "CAP_SYS_NICE",
    used_for: "advising on other processes' memory",
    set: CapabilitySet::SYS_NICE,
};

/// Everything that memmon uses.
pub const ALL: &[Capability] = &[
    BPF,
    PERFMON,
    SYS_RESOURCE,
    IPC_LOCK,
    DAC_OVERRIDE,
    SYS_PTRACE,
    SYS_NICE,
];
/// Without these the agent does not start; what it lacks beyond them it says.
pub const RUN: &[Capability] = &[BPF, PERFMON];
/// Without these nothing can be traced.
pub const TRACE: &[Capability] = &[BPF, PERFMON];
/// Without these the self-test cannot make a cgroup and watch it.
pub const SELF_TEST: &[Capability] = &[BPF, PERFMON, DAC_OVERRIDE];

/// Whether this process holds `capability` in its effective set.
///
/// # Errors
/// If the kernel does not say.
pub fn holds(capability: &Capability) -> rustix::io::Result<bool> {
    Ok(is_in(capability, capabilities(None)?.effective))
}

/// Requires that this process holds all of `needed` for `command`.
///
/// # Errors
/// With [`ExitCode::Permission`] and the names of those that it lacks.
pub fn require(command: &str, needed: &[Capability]) -> Result<(), Failure> {
    let effective = capabilities(None)?.effective;
    match lacking(needed, effective).as_slice() {
        [] => Ok(()),
        lacking => Err(Failure::message(ExitCode::Permission, refusal(command, lacking))),
    }
}

fn is_in(capability: &Capability, effective: CapabilitySet) -> bool {
    let set = effective.contains(capability.set);
    // CAP_BPF and CAP_PERFMON were split off CAP_SYS_ADMIN (5.8), which still stands for both.
    let split_off = CapabilitySet::BPF | CapabilitySet::PERFMON;
    set || split_off.contains(capability.set) && effective.contains(CapabilitySet::SYS_ADMIN)
}

fn lacking(needed: &[Capability], effective: CapabilitySet) -> Vec<Capability> {
    needed
        .iter()
        .filter(|capability| !is_in(capability, effective))
        .copied()
        .collect()
}

fn refusal(command: &str, lacking: &[Capability]) -> String {
    let names: Vec<_> = lacking
        .iter()
        .map(|c| format!("{} ({})", c.name, c.used_for))
        .collect();
    format!(
        "{command}: this process lacks {}: run it as root",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests;
