//! The kernel's counters per cgroup, summed per unit across restarts.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use memmon_common::event::SwapOutKey;

use super::index::UnitIndex;
use super::labels::{LabelSet, OTHER};
use crate::decode::ReclaimKind;

/// The unit of pages whose cgroup was gone before anybody could learn its name.
pub const UNKNOWN_UNIT: &str = "unknown";

/// Who lost pages to whom, and on what occasion.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlameKey {
    /// Unit that owns the pages.
    pub victim: Arc<str>,
    /// Unit that pushed them out; `None` for kswapd and where the kernel does not tell.
    pub reclaimer: Option<Arc<str>>,
    /// The occasion.
    pub kind: ReclaimKind,
}

/// How far each counter was booked, by key. Turns cumulative counters into increments.
///
/// Nothing is ever removed: the kernel's maps keep each key as long as the programs are loaded, so there are at
/// most as many here as there.
#[derive(Debug)]
struct Counted<K>(HashMap<K, u64>);

impl<K: Copy + Eq + Hash> Counted<K> {
    /// Calls `add` with what each counter has gained beyond all earlier snapshots.
    ///
    /// A counter never falls. One that is missing or smaller than before is in a snapshot that is older than one
    /// that was booked already, or that left out what was just moving: it has nothing new.
    fn advance(&mut self, snapshot: &[(K, u64)], mut add: impl FnMut(K, u64)) {
        for &(key, value) in snapshot {
            let before = self.0.entry(key).or_default();
            if value > *before {
                add(key, value - *before);
                *before = value;
            }
        }
    }

    /// Whether `value` has something that was not booked yet.
    fn is_news(&self, key: &K, value: u64) -> bool {
        self.0.get(key).is_none_or(|&before| before < value)
    }
}

/// Pages swapped out per unit and occasion, and who is to blame. Sums never fall.
///
/// A page whose cgroup id has no name at the time of a snapshot is booked under [`UNKNOWN_UNIT`] and stays
/// there; look for unknown ids with [`Self::unresolved`] and scan the tree before [`Self::apply`].
#[derive(Debug)]
pub struct Ledger {
    counted: Counted<SwapOutKey>,
    labels: LabelSet,
    unknown: Arc<str>,
    units: HashMap<(Arc<str>, ReclaimKind), u64>,
    blame: HashMap<BlameKey, u64>,
    blame_limit: usize,
}

impl Ledger {
    /// A ledger of at most `unit_limit` units; the ones that come later are one unit, `other`. Pairs of
    /// victim and reclaimer are limited to `blame_limit`; beyond, the reclaimer is `other`.
    pub fn new(unit_limit: usize, blame_limit: usize) -> Self {
        Self {
            counted: Counted(HashMap::new()),
            labels: LabelSet::new(unit_limit),
            unknown: Arc::from(UNKNOWN_UNIT),
            units: HashMap::new(),
            blame: HashMap::new(),
            blame_limit,
        }
    }

    /// Cgroup ids of `snapshot` that have new pages and no name: reason for one scan of the tree.
    pub fn unresolved(&self, snapshot: &[(SwapOutKey, u64)], index: &UnitIndex) -> Vec<u64> {
        let mut ids: Vec<u64> = snapshot
            .iter()
            .filter(|(key, value)| self.counted.is_news(key, *value))
            .flat_map(|(key, _)| [key.owner, key.reclaimer])
            .filter(|&id| id != 0 && index.unit_of(id).is_none())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Books a snapshot of the kernel's counters: cumulative pages since the programs were loaded. Snapshots may come
    /// in any order.
    pub fn apply(&mut self, snapshot: &[(SwapOutKey, u64)], index: &UnitIndex) {
        let Self {
            counted,
            labels,
            unknown,
            units,
            blame,
            blame_limit,
        } = self;
        counted.advance(snapshot, |key, pages| {
            let mut label = |id| labels.label(index.unit_of(id).unwrap_or(unknown));
            let kind = ReclaimKind::try_from(key.kind).unwrap_or(ReclaimKind::Other);
            let victim = label(key.owner);
            let reclaimer = (key.reclaimer != 0).then(|| label(key.reclaimer));
            *units.entry((Arc::clone(&victim), kind)).or_default() += pages;
            let mut pair = BlameKey {
                victim,
                reclaimer,
                kind,
            };
            if pair.reclaimer.is_some() && blame.len() >= *blame_limit && !blame.contains_key(&pair) {
                pair.reclaimer = Some(Arc::from(OTHER));
            }
            *blame.entry(pair).or_default() += pages;
        });
    }

    /// Pages swapped out of each unit on each occasion; in no order.
    pub fn by_kind(&self) -> impl Iterator<Item = (&Arc<str>, ReclaimKind, u64)> {
        self.units
            .iter()
            .map(|((unit, kind), &pages)| (unit, *kind, pages))
    }

    /// Pages swapped out of `unit`; `None` if it came after the limit and counts into `other`.
    pub fn pages_of(&self, unit: &str) -> Option<u64> {
        let pages =
            |((name, _), &pages): (&(Arc<str>, ReclaimKind), &u64)| (name.as_ref() == unit).then_some(pages);
        self.labels
            .has_room_for(unit)
            .then(|| self.units.iter().filter_map(pages).sum())
    }

    /// Pages of all units together: what the kernel's counters have gained since the programs were loaded.
    pub fn total_pages(&self) -> u64 {
        self.units.values().sum()
    }

    /// Who lost how many pages to whom; in no order.
    pub fn blame(&self) -> impl Iterator<Item = (&BlameKey, u64)> {
        self.blame.iter().map(|(key, &pages)| (key, pages))
    }
}

/// A counter per cgroup id (pages written to, or read from, swap devices), summed per unit.
#[derive(Debug)]
pub struct IdLedger {
    counted: Counted<u64>,
    labels: LabelSet,
    unknown: Arc<str>,
    units: HashMap<Arc<str>, u64>,
}

impl IdLedger {
    /// A ledger of at most `unit_limit` units; the ones that come later are one unit, `other`.
    pub fn new(unit_limit: usize) -> Self {
        Self {
            counted: Counted(HashMap::new()),
            labels: LabelSet::new(unit_limit),
            unknown: Arc::from(UNKNOWN_UNIT),
            units: HashMap::new(),
        }
    }

    /// Books a snapshot, as [`Ledger::apply`].
    pub fn apply(&mut self, snapshot: &[(u64, u64)], index: &UnitIndex) {
        let Self {
            counted,
            labels,
            unknown,
            units,
        } = self;
        counted.advance(snapshot, |id, pages| {
            *units
                .entry(labels.label(index.unit_of(id).unwrap_or(unknown)))
                .or_default() += pages;
        });
    }

    /// The sum of each unit; in no order.
    pub fn by_unit(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.units.iter().map(|(unit, &pages)| (unit, pages))
    }

    /// The sum of `unit`; `None` if it came after the limit and counts into `other`.
    pub fn pages_of(&self, unit: &str) -> Option<u64> {
        self.labels
            .has_room_for(unit)
            .then(|| self.units.get(unit).copied().unwrap_or(0))
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
