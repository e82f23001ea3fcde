//! What a decision about the whole host rests on. It can be stored and read back: a recording is a row of these.

use std::collections::BTreeMap;

use super::{LeaseView, MonoTime, Property};
use crate::config::Priority;
use crate::decode::{Level, Limit, MemInfo, Pressure, SwapLevel};

/// The host and its units as they were measured.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HostSnapshot {
    /// Memory of the host.
    pub host: MemInfo,
    /// `/proc/pressure/memory`; `None` if the kernel has none.
    pub psi: Option<Pressure>,
    /// What swap is made of.
    pub swap: SwapUse,
    /// What this kernel lets memmon do.
    pub kernel: Abilities,
    /// The units' cgroups and all their ancestors below the root, by path.
    pub cgroups: BTreeMap<String, CgroupView>,
    /// Running services and scopes with a cgroup.
    pub units: Vec<UnitView>,
    /// Leases in force.
    pub leases: Vec<HostLease>,
    /// When the use of RAM will pass `ram_high`; `None` without a trend or without history.
    pub outlook: Option<Outlook>,
    /// The agent's own unit, never acted upon.
    pub own_unit: Option<String>,
}

/// What swap is made of. A zram device is swap in RAM; zswap keeps pages in RAM in front of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SwapUse {
    /// Size of the swap areas on disks and in files, bytes.
    pub disk_total: u64,
    /// What is used of them, bytes: zswap reserves a place on disk for each page that it keeps.
    pub disk_reserved: u64,
    /// Size of the zram devices that are swap, bytes of uncompressed pages.
    pub zram_total: u64,
    /// What is used of them, bytes.
    pub zram_used: u64,
    /// What zswap keeps in RAM, bytes before compression; `None`: zswap is off.
    pub zswap_stored: Option<u64>,
}

impl SwapUse {
    /// Swapped pages that are on a disk, bytes.
    pub fn disk_used(&self) -> u64 {
        self.disk_reserved.saturating_sub(self.zswap_stored.unwrap_or(0))
    }

    /// What is used of swap that pages enter compressed, and its size, bytes; `None` without zram and zswap.
    pub fn compressed(&self) -> Option<(u64, u64)> {
        match (self.zram_total, self.zswap_stored) {
            // With zswap each page has a place on disk as well: when those are used up, nothing is swapped.
            (zram, Some(_)) => Some((self.zram_used + self.disk_reserved, zram + self.disk_total)),
            (0, None) => None,
            (zram, None) => Some((self.zram_used, zram)),
        }
    }

    /// Room for further pages, bytes.
    pub fn free(&self) -> u64 {
        (self.disk_total + self.zram_total).saturating_sub(self.disk_reserved + self.zram_used)
    }

    /// The next page that is swapped out of `unit` stays in RAM, compressed.
    pub fn compresses(&self, unit: &UnitView) -> bool {
        self.zswap_stored.is_some() && self.disk_total > 0 && unit.zswap_room != Some(0)
            || self.zram_total > self.zram_used && self.zram_total > 0
    }

    /// There is no swap at all.
    pub const fn is_none(&self) -> bool {
        self.disk_total + self.zram_total == 0
    }
}

/// What this kernel lets memmon do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Abilities {
    /// `memory.reclaim` (from 6.1).
    pub reclaim: bool,
    /// … with `swappiness=` (from 6.12), so that file cache can be taken alone.
    pub swappiness: bool,
}

/// One cgroup.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CgroupView {
    /// Inode of its directory.
    pub id: u64,
    /// `memory.current`, bytes.
    pub current: u64,
    /// `memory.max`.
    pub max: Limit,
    /// `memory.high`.
    pub high: Limit,
    /// `memory.low`.
    pub low: Limit,
    /// `memory.min`.
    pub min: Limit,
    /// Swap; `None` where the kernel does not account it.
    pub swap: Option<SwapLevel>,
}

impl CgroupView {
    /// What must be left to it, bytes: the larger of `memory.low` and `memory.min`.
    pub fn protected(&self) -> u64 {
        self.low.max(self.min).bytes().unwrap_or(u64::MAX)
    }
}

/// One unit.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct UnitView {
    /// Name.
    pub unit: String,
    /// What the operator declared it to be.
    pub priority: Priority,
    /// Path of its cgroup, a key of [`HostSnapshot::cgroups`].
    pub cgroup: String,
    /// Anonymous memory that can be reclaimed, bytes (`active_anon + inactive_anon`).
    pub anon: u64,
    /// Clean file cache, bytes (`active_file + inactive_file − file_dirty − file_writeback`).
    pub cache: u64,
    /// File cache that has not been used lately, bytes (`inactive_file`).
    pub idle_cache: u64,
    /// Its `memory.pressure`; `None` where the kernel does not account it.
    pub pressure: Option<Pressure>,
    /// Cgroups below it with a finite limit of their own; measured for critical units only.
    pub below: Vec<Level>,
    /// All cgroups below were looked at.
    pub below_complete: bool,
    /// What zswap may still keep of it, bytes: the least that `memory.zswap.max` of its cgroup and those above leaves.
    /// `None`: as much as fits, zswap is off, or this kernel does not limit it (before 5.19).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zswap_room: Option<u64>,
    /// A process of it has tagged regions; false in recordings of versions that did not tell.
    #[serde(default)]
    pub tagged: bool,
    /// What somebody else has set its `MemorySwapMax` to while memmon had it on a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theirs: Option<Limit>,
    /// When a page of it last went to swap although it is critical.
    pub last_critical: Option<MonoTime>,
}

impl UnitView {
    /// Its anonymous memory is not to be taken: reclaim cannot leave out the regions that its processes have
    /// tagged. Below medium tags are counted and shown only.
    pub fn keeps_anon(&self) -> bool {
        self.priority == Priority::Critical || (self.tagged && self.priority >= Priority::Medium)
    }
}

/// A lease and where it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HostLease {
    /// The unit; for `MemoryLow` also a slice above a critical unit.
    pub unit: String,
    /// Path of its cgroup.
    pub cgroup: String,
    /// The lease.
    pub lease: LeaseView,
}

/// When a threshold will be passed, seconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outlook {
    /// At the earliest.
    pub earliest: u64,
    /// At the latest.
    pub latest: u64,
}

impl HostSnapshot {
    /// The cgroup at `path` and its ancestors below the root, innermost first. Ends early if one is missing.
    pub fn chain<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a CgroupView)> {
        ancestry(path).map_while(|path| Some((path, self.cgroups.get(path)?)))
    }

    /// Gives the cgroups the limits of the leases, as they would be if these were in force: in a dry run they
    /// are not, and one decision after another shall still be that of a real run.
    pub fn imagine_leases(&mut self) {
        for held in &self.leases {
            let Some(cgroup) = self.cgroups.get_mut(&held.cgroup) else {
                continue;
            };
            match (held.lease.property, &mut cgroup.swap) {
                (Property::MemoryLow, _) => cgroup.low = held.lease.new,
                (Property::MemoryHigh, _) => cgroup.high = held.lease.new,
                (Property::MemorySwapMax, Some(swap)) => swap.max = held.lease.new,
                (Property::MemorySwapMax, None) => {}
            }
        }
    }

    /// The cgroup at `path` and all its ancestors were measured.
    pub(super) fn is_complete(&self, path: &str) -> bool {
        ancestry(path).all(|path| self.cgroups.contains_key(path))
    }

    /// As [`Self::chain`], in the form that headroom is computed from; empty if a part of it is missing.
    pub(super) fn levels(&self, path: &str) -> Vec<Level> {
        if !self.is_complete(path) {
            return Vec::new();
        }
        self.chain(path)
            .map(|(path, cgroup)| Level {
                path: path.to_owned(),
                max: cgroup.max,
                high: cgroup.high,
                current: cgroup.current,
                swap: cgroup.swap,
            })
            .collect()
    }
}

/// `path` and its ancestors below the root, innermost first: `/a/b` gives `/a/b`, `/a`.
pub(super) fn ancestry(path: &str) -> impl Iterator<Item = &str> {
    let trimmed = path.trim_end_matches('/');
    std::iter::successors(Some(trimmed), |path| path.rfind('/').map(|slash| &path[..slash]))
        .take_while(|path| !path.is_empty())
}

/// `part / whole`; `None` if there is no whole.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    (whole > 0).then(|| part as f64 / whole as f64)
}
