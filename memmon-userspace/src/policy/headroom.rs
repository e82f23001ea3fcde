//! How much a unit may still grow before a limit stops it.

use std::fmt;

use super::Snapshot;
use crate::decode::Level;
use crate::decode::Limit;

/// The least that `auto` wants free before it stops a unit's swap.
const LEAST: u64 = 64 << 20;

/// How much a unit may still grow: the minimum over its cgroup, its ancestors, and the cgroups below it
/// that have a limit of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// The limit nearest to being hit; `None` if no limit is finite anywhere.
    pub binding: Option<Binding>,
    /// What `auto` wants free: the larger of 5 % of the unit's usage and 64 MiB, bytes.
    pub needed: u64,
}

/// A finite limit and how near it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The cgroup that carries it.
    pub cgroup: String,
    /// `memory.max` or `memory.high`.
    pub file: &'static str,
    /// Its value, bytes.
    pub limit: u64,
    /// What that cgroup uses, bytes; can be above the limit.
    pub current: u64,
}

impl Binding {
    /// Bytes left; 0 at or above the limit.
    pub const fn left(&self) -> u64 {
        self.limit.saturating_sub(self.current)
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} of {}, {} left",
            self.file,
            Size(self.limit),
            self.cgroup,
            Size(self.left())
        )
    }
}

impl Headroom {
    /// Measures the headroom of the unit of `snapshot`.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self::in_levels(&snapshot.chain, &snapshot.below)
    }

    /// The same from the levels: the unit's cgroup and its ancestors, and the limited cgroups below it.
    pub(super) fn in_levels(chain: &[Level], below: &[Level]) -> Self {
        let binding = chain
            .iter()
            .chain(below)
            .flat_map(limits)
            .min_by_key(Binding::left);
        let current = chain.first().map_or(0, |unit| unit.current);
        Self {
            binding,
            needed: (current / 20).max(LEAST),
        }
    }

    /// At least what `auto` wants is free.
    pub fn suffices(&self) -> bool {
        self.binding
            .as_ref()
            .is_none_or(|binding| binding.left() >= self.needed)
    }

    /// Less than half of what `auto` wants is free: a lease that `auto` took has to end.
    pub fn is_gone(&self) -> bool {
        self.binding
            .as_ref()
            .is_some_and(|binding| binding.left() < self.needed / 2)
    }
}

/// Whether the host can do without the pages of units that may not be swapped. RAM is a limit as well: the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostRoom {
    /// What it can find elsewhere, bytes.
    elsewhere: u64,
    /// What it must be able to find, bytes: 1/20 of RAM.
    needed: u64,
    /// Room in swap for what would go there, bytes.
    swap_free: u64,
}

impl HostRoom {
    /// Of the host of `snapshot`.
    pub(super) const fn of(snapshot: &Snapshot) -> Self {
        Self {
            elsewhere: snapshot.elsewhere,
            needed: Self::needed(snapshot.host.total),
            swap_free: snapshot.host.swap_free,
        }
    }

    /// What a host with `total` bytes of RAM must be able to find without units whose swap is stopped.
    pub(super) const fn needed(total: u64) -> u64 {
        total / 20
    }

    /// At least that can be found.
    pub(super) const fn suffices(self) -> bool {
        self.elsewhere >= self.needed
    }

    /// Less than half of it, and swap has room: pages have to go there, or somebody is OOM-killed.
    pub(super) const fn is_gone(self) -> bool {
        self.elsewhere < self.needed / 2 && self.swap_free > 0
    }
}

impl fmt::Display for HostRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RAM of the host, which can find {} without the units that are kept out of swap (auto asks for {})",
            Size(self.elsewhere),
            Size(self.needed)
        )
    }
}

/// The finite limits of one level; `memory.max` first, as reaching it is worse.
fn limits(level: &Level) -> impl Iterator<Item = Binding> {
    [("memory.max", level.max), ("memory.high", level.high)]
        .into_iter()
        .filter_map(|(file, limit)| match limit {
            Limit::Bytes(limit) => Some(Binding {
                cgroup: level.path.clone(),
                file,
                limit,
                current: level.current,
            }),
            Limit::Max => None,
        })
}

/// Bytes for people: exact below a MiB, else one decimal; MiB up to 10 GiB.
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift, from) in [("GiB", 30, 10 << 30), ("MiB", 20, 1 << 20)] {
            if self.0 >= from {
                // Tenths, rounded down: 63.99 MiB must not read as the 64.0 MiB that would have sufficed.
                let tenths = (u128::from(self.0) * 10) >> shift;
                return write!(f, "{}.{} {unit}", tenths / 10, tenths % 10);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}
