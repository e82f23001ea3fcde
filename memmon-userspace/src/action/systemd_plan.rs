//! What to ask of systemd for a lease, decided from what systemd and the cgroup say. Pure.

use std::collections::BTreeMap;

use super::lease::{Lease, LeaseState, SystemdBefore};
use super::systemd_props::{drop_in_says, unsafe_to_set, would_reclaim};
use crate::decode::Limit;
use crate::policy::Property;

/// A unit as systemd has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// Primary name (`Id`): drop-ins go by it, whatever alias was asked for.
    pub id: String,
    /// `LoadState` is `loaded`. A unit whose file is gone can still have a drop-in of ours.
    pub loaded: bool,
    /// It has a cgroup and processes: `active`, `activating`, `deactivating`, `reloading`, `refreshing`.
    pub running: bool,
    /// Made by `systemd-run` or `StartTransientUnit`.
    pub transient: bool,
    /// `ControlGroup`; empty if it has none now.
    pub control_group: String,
    /// The memory properties that this systemd has.
    pub limits: BTreeMap<String, Limit>,
    /// `MemoryLimit`, where this systemd still has it.
    pub memory_limit: Option<Limit>,
    /// `DropInPaths`.
    pub drop_in_paths: Vec<String>,
    /// The drop-ins that `SetUnitProperties` writes, and what they hold now (`None`: no file).
    pub drop_ins: BTreeMap<Property, DropIn>,
}

/// A drop-in that `SetUnitProperties` writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// Its path.
    pub path: String,
    /// What it holds; `None` if there is no such file.
    pub content: Option<String>,
}

impl UnitFacts {
    /// The value that systemd has for `property`; `None` if this systemd, or this unit, has none.
    pub fn property(&self, property: Property) -> Option<Limit> {
        self.limits.get(property.as_str()).copied()
    }
}

/// The cgroup's memory files; a file that the kernel lacks is absent.
pub type Files = BTreeMap<&'static str, Limit>;

/// How to make a lease official.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfficialPlan {
    /// Ask systemd; this is what it has now, to be put on record first.
    Set(SystemdBefore),
    /// Leave it at the cgroup file.
    CgroupOnly(String),
    /// The unit stopped.
    Gone,
}

/// Decides how to make `lease` official. `held` are all leases on the unit, `lease` among them.
pub fn official(
    lease: &Lease,
    held: &[&Lease],
    facts: &UnitFacts,
    files: Option<&Files>,
    page_size: u64,
) -> OfficialPlan {
    let (true, Some(files)) = (facts.running, files) else {
        return OfficialPlan::Gone;
    };
    if facts.id.ends_with(".scope") {
        return OfficialPlan::CgroupOnly("scopes get cgroup writes only".into());
    }
    if facts.control_group != lease.cgroup {
        return OfficialPlan::CgroupOnly(format!("systemd has {} in {}", facts.id, facts.control_group));
    }
    let Some(value) = facts.property(lease.property) else {
        return OfficialPlan::CgroupOnly(format!("this systemd has no {}", lease.property));
    };
    let apart = |other: &&Lease| other.id != lease.id && matches!(other.state, LeaseState::CgroupOnly { .. });
    if held.iter().any(apart) {
        return OfficialPlan::CgroupOnly("another limit of the unit is in its cgroup file only".into());
    }
    let without_ours = without_ours(files, held);
    let unsafe_to_set = || unsafe_to_set(&facts.limits, facts.memory_limit, &without_ours, page_size);
    if let Some(why) = would_reclaim(files).or_else(unsafe_to_set) {
        return OfficialPlan::CgroupOnly(why);
    }
    let Some(drop_in) = facts.drop_ins.get(&lease.property) else {
        return OfficialPlan::Gone;
    };
    // A second try: what was on record before the first is the truth, what is there now may be ours.
    OfficialPlan::Set(lease.systemd.clone().unwrap_or_else(|| SystemdBefore {
        value,
        asked: Vec::new(),
        drop_in: drop_in.path.clone(),
        drop_in_before: drop_in.content.clone(),
        drop_in_paths: facts.drop_in_paths.clone(),
        transient: facts.transient,
    }))
}

/// The files as they would be without memmon's own changes, which systemd may not know of yet.
fn without_ours(files: &Files, held: &[&Lease]) -> Files {
    let mut files = files.clone();
    for lease in held {
        let file = lease.property.file();
        if lease.systemd.is_some() {
            // systemd has been asked before: either value is as it should be.
            files.remove(file);
        } else if let Some(value) = files.get_mut(file).filter(|value| **value == lease.new) {
            *value = lease.old;
        }
    }
    files
}

/// How to put a lease back that systemd knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevertPlan {
    /// What to do with the drop-in.
    pub drop_in: DropInStep,
    /// Whether systemd has to read the configuration again.
    pub reload: bool,
    /// A value that somebody else wrote into the cgroup file after memmon: the reload would undo it, so it
    /// is written again afterwards.
    pub keep_in_cgroup: Option<Limit>,
    /// Somebody else changed the limit after memmon: what and to what, in words.
    pub operator: Option<String>,
}

/// What to do with a drop-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropInStep {
    /// It is not there, or not ours.
    Leave,
    /// Remove it if it still holds `seen`.
    Remove {
        /// Its path.
        path: String,
        /// What it held when the decision was made.
        seen: String,
    },
    /// Put back what was there before, if it still holds `seen`.
    Replace {
        /// Its path.
        path: String,
        /// What it held when the decision was made.
        seen: String,
        /// What it held before memmon.
        content: String,
    },
}

/// Decides how to put `lease` back. `file` is the cgroup file's value; `None` if the cgroup is gone.
pub fn revert(
    lease: &Lease,
    before: &SystemdBefore,
    facts: &UnitFacts,
    file: Option<Limit>,
    page_size: u64,
) -> RevertPlan {
    let now = facts.property(lease.property);
    let content = facts
        .drop_ins
        .get(&lease.property)
        .filter(|drop_in| drop_in.path == before.drop_in)
        .and_then(|drop_in| drop_in.content.clone());
    let drop_in = match content {
        Some(seen)
            if before
                .asked
                .iter()
                .any(|ours| drop_in_says(&seen, lease.property, *ours)) =>
        {
            match &before.drop_in_before {
                Some(content) if *content != seen => DropInStep::Replace {
                    path: before.drop_in.clone(),
                    seen,
                    content: content.clone(),
                },
                Some(_) => DropInStep::Leave,
                None => DropInStep::Remove {
                    path: before.drop_in.clone(),
                    seen,
                },
            }
        }
        _ => DropInStep::Leave,
    };
    let operator_property = now.filter(|now| !before.asked.contains(now) && *now != before.value);
    let keep_in_cgroup = file.filter(|file| {
        let systemds = now.is_some_and(|now| now.page_aligned(page_size) == *file);
        !systemds && !lease.is_ours(*file, page_size) && *file != lease.old
    });
    let operator = operator_property
        .map(|now| format!("{} was set to {now} after memmon", lease.property))
        .or_else(|| {
            keep_in_cgroup.map(|file| format!("{} was written {file} after memmon", lease.property.file()))
        });
    // A property that is ours without its drop-in (removed by hand) needs the reload as well.
    let reload = drop_in != DropInStep::Leave
        || now.is_some_and(|now| now != before.value && before.asked.contains(&now));
    RevertPlan {
        drop_in,
        reload,
        keep_in_cgroup,
        operator,
    }
}

/// What a daemon-reload means for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadPlan {
    /// It is still in force.
    InForce,
    /// The reload has put the value back that was configured before: apply again.
    Again {
        /// What the cgroup file holds now, to be put back at the end.
        old: Limit,
    },
    /// The configuration has another value than when the lease was taken, or the cgroup file one that systemd does
    /// not know of: it is the operator's.
    Operators(Limit),
    /// The unit stopped.
    Gone,
}

/// Decides what a daemon-reload means for `lease`. `file` is the cgroup file's value, read after systemd has
/// applied its properties; `None` if the cgroup is gone.
pub fn after_reload(lease: &Lease, facts: &UnitFacts, file: Option<Limit>, page_size: u64) -> ReloadPlan {
    let aligned = |limit: Limit| limit.page_aligned(page_size);
    let property = facts.property(lease.property);
    let configured = match (&lease.systemd, &lease.state) {
        (Some(before), _) => Some(before.value),
        (None, LeaseState::CgroupOnly { configured, .. }) => *configured,
        (None, LeaseState::Taken | LeaseState::Official) => None,
    };
    if lease.systemd.is_some() {
        return match property {
            None => ReloadPlan::Gone,
            Some(now) if now == lease.new => match file {
                // Somebody wrote it: the next reload would have systemd undo that.
                Some(file) if !lease.is_ours(file, page_size) => ReloadPlan::Operators(file),
                _ => ReloadPlan::InForce,
            },
            // One of ours from before freeze lowered it; nothing of the operator's.
            Some(now) if lease.is_ours(now, page_size) => ReloadPlan::Again { old: lease.old },
            Some(now) if Some(now) == configured => ReloadPlan::Again { old: aligned(now) },
            Some(now) => ReloadPlan::Operators(now),
        };
    }
    // Only the cgroup file is ours, and systemd has just written its own value there.
    match file {
        None => ReloadPlan::Gone,
        Some(file) if file == aligned(lease.new) => ReloadPlan::InForce,
        Some(file) if property.is_some() && property == configured => ReloadPlan::Again { old: file },
        Some(file) if file == lease.old => ReloadPlan::Again { old: file },
        Some(file) => ReloadPlan::Operators(file),
    }
}

#[cfg(test)]
#[path = "systemd_plan_tests.rs"]
mod tests;
