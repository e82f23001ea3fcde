//! A lease: one limit of one unit, changed by memmon and to be put back.

use crate::config::OnCriticalSwap;
use crate::decode::Limit;
use crate::policy::{LeaseId, LeaseView, MonoTime, Property};

/// A limit that memmon changed and will put back. Recorded before the change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lease {
    /// Number, never used twice in one lease file.
    pub id: LeaseId,
    /// The unit; a property lease follows this name over restarts.
    pub unit: String,
    /// Which limit.
    pub property: Property,
    /// The unit's cgroup, from the root of the hierarchy.
    pub cgroup: String,
    /// Inode of that cgroup's directory: the file is only written while it is the same.
    pub inode: u64,
    /// The cgroup file's value before.
    pub old: Limit,
    /// The value that memmon wants there.
    pub new: Limit,
    /// The reaction that it was taken under.
    pub mode: OnCriticalSwap,
    /// Why, in words.
    pub reason: String,
    /// When it was taken.
    pub created: MonoTime,
    /// It does not end before.
    pub deadline: MonoTime,
    /// How far the change has come.
    pub state: LeaseState,
    /// What systemd had before; present from just before systemd is asked to change anything.
    pub systemd: Option<SystemdBefore>,
}

/// How far a change has come.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Recorded; the cgroup file is written next, systemd has not confirmed.
    Taken,
    /// systemd has the value as well.
    Official,
    /// The cgroup file only, and why systemd is not asked.
    CgroupOnly {
        /// Why.
        why: String,
        /// The property as systemd had it then; `None` if that is not known.
        configured: Option<Limit>,
    },
}

/// A unit's property as systemd had it, and the drop-in that `SetUnitProperties` is about to overwrite.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SystemdBefore {
    /// The property's value.
    pub value: Limit,
    /// The values that systemd was asked for since: what is found with one of them is memmon's own.
    pub asked: Vec<Limit>,
    /// The drop-in that `SetUnitProperties` writes.
    pub drop_in: String,
    /// What that file held before: somebody else's `systemctl set-property --runtime`; `None`: no file.
    pub drop_in_before: Option<String>,
    /// The unit's `DropInPaths` before.
    pub drop_in_paths: Vec<String>,
    /// The unit is transient (`systemd-run`): its drop-ins live in another directory.
    pub transient: bool,
}

impl Lease {
    /// `value` is one that memmon set under this lease: freeze lowers the value while it lasts.
    pub fn is_ours(&self, value: Limit, page_size: u64) -> bool {
        let asked = self.systemd.iter().flat_map(|before| &before.asked);
        asked
            .chain([&self.new])
            .any(|ours| value == *ours || value == ours.page_aligned(page_size))
    }

    /// What policy needs to know of it.
    pub fn view(&self) -> LeaseView {
        LeaseView {
            id: self.id,
            property: self.property,
            cgroup_id: self.inode,
            old: self.old,
            new: self.new,
            mode: self.mode,
            deadline: self.deadline,
        }
    }
}
