//! What the index answers.

use std::sync::Arc;

use super::facts::UnitFacts;
use super::unit_name::{self, UnitKind};

/// What is known of one cgroup id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The cgroup id that was asked for.
    pub id: u64,
    /// The unit that owns the cgroup; its path where there is no unit ([`UnitKind::None`]).
    pub unit: Arc<str>,
    /// Type of the unit.
    pub kind: UnitKind,
    /// Path from the root of the hierarchy. `None` if the record of it was cut short and no scan has seen
    /// it yet, and once the kernel has forgotten the cgroup.
    pub path: Option<Arc<str>>,
    /// Whether the cgroup is still in the tree. A removed one may still own pages.
    pub alive: bool,
    /// The cgroup lies below the unit's own, and systemd has delegated that to the unit (`Delegate=`): its
    /// files belong to somebody else. False as long as systemd has not said so: compare `path` with the
    /// unit's own cgroup before any write.
    pub delegated: bool,
}

impl Resolved {
    /// Path of the unit's own cgroup, where its limits are; absent when `path` is.
    pub fn unit_cgroup(&self) -> Option<&str> {
        self.path
            .as_deref()
            .map(|path| unit_name::owner_of(path).unit_cgroup)
    }

    /// Whether the cgroup lies below the unit's own; `None` when `path` is absent.
    pub fn is_nested(&self) -> Option<bool> {
        self.path
            .as_deref()
            .map(|path| unit_name::owner_of(path).is_nested(path))
    }
}

/// What a cgroup event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifeUpdate {
    /// A cgroup that was not known before.
    Added(Resolved),
    /// It is out of the tree; its pages stay where they are.
    Removed(Resolved),
    /// No page can belong to it any more.
    Released,
    /// Nothing: known already, or never seen.
    Unchanged,
    /// The event alone does not tell the name: scan the tree.
    NeedsScan,
}

/// What a scan changed, as cgroup ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanUpdate {
    /// Not known before.
    pub added: Vec<u64>,
    /// Believed alive, and not in the tree any more. Empty if the scan was incomplete.
    pub removed: Vec<u64>,
}

/// A unit that has, or had, a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// Its type.
    pub kind: UnitKind,
    /// Cgroup ids in the tree that belong to it, nested ones included.
    pub alive: &'a [u64],
    /// What systemd says about it; `None` if systemd has not said anything.
    pub facts: Option<&'a UnitFacts>,
}
