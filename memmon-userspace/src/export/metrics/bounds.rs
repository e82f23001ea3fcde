//! Label values that cannot grow without bound, while no counter ever falls.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{Blame, Critical, Facts};
use crate::{attribute::OTHER, config::Priority, record::HOST};

/// How many series there may be, and who has got one. Lives as long as the agent.
///
/// A unit that has series keeps them. One that came too late counts into `other` for ever, even if there were room
/// for it later: moving it would make `other` fall. Only units that something was counted for are remembered that
/// way, and the ledgers they come from are bounded themselves.
#[derive(Debug)]
pub struct Bounds {
    units: usize,
    reserve: usize,
    pairs: usize,
    regions: usize,
    own: HashSet<Arc<str>>,
    folded: HashSet<Arc<str>>,
    blamed: HashSet<Blame>,
    tagged: HashSet<Critical>,
    other: Arc<str>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::new(1_000, 500, 5_000, 500)
    }
}

impl Bounds {
    /// At most `units` units with series of their own, and `reserve` more that have a priority above `observe`;
    /// `pairs` of victim and reclaimer; `regions` of tagged memory.
    pub fn new(units: usize, reserve: usize, pairs: usize, regions: usize) -> Self {
        Self {
            units,
            reserve,
            pairs,
            regions,
            own: HashSet::new(),
            folded: HashSet::new(),
            blamed: HashSet::new(),
            tagged: HashSet::new(),
            other: Arc::from(OTHER),
        }
    }

    /// The same facts with the names of units that came too late replaced.
    pub fn apply(&mut self, mut facts: Facts) -> Facts {
        self.admit(&facts);
        facts.swapout = sum(facts.swapout, |mut key| {
            self.counted(&mut key.unit);
            key
        });
        facts.swapin = sum(facts.swapin, |mut key| {
            self.counted(&mut key.unit);
            key
        });
        facts.critical = sum(facts.critical, |mut key| {
            self.counted(&mut key.unit);
            self.region(key)
        });
        facts.blame = sum(facts.blame, |mut key| {
            self.counted(&mut key.victim);
            self.counted(&mut key.reclaimer);
            self.pair(key)
        });
        facts.actions = sum(facts.actions, |mut key| {
            self.counted(&mut key.unit);
            key
        });
        let mut stalls = BTreeMap::new();
        for (mut key, times) in std::mem::take(&mut facts.stalls) {
            self.counted(&mut key.unit);
            stalls
                .entry(key)
                .and_modify(|sum: &mut super::Histogram| sum.add(&times))
                .or_insert(times);
        }
        facts.stalls = stalls;
        facts.units = self.fold_memory(facts.units);
        facts.alarms = sum(facts.alarms, |mut key| {
            key.unit = self.shown(&key.unit);
            key
        });
        facts.leases = sum(facts.leases, |mut key| {
            key.unit = self.shown(&key.unit);
            key
        });
        facts
            .exhaustion
            .retain(|key, _| key.unit.is_empty() || self.own.contains(&key.unit));
        facts
    }

    /// Units that matter first, so that those which do not cannot crowd them out.
    fn admit(&mut self, facts: &Facts) {
        let (declared, others): (Vec<_>, Vec<_>) = facts
            .units
            .iter()
            .partition(|unit| unit.priority > Priority::Observe);
        for unit in declared {
            self.admit_one(&unit.unit, self.units + self.reserve);
        }
        for unit in others {
            self.admit_one(&unit.unit, self.units);
        }
    }

    fn admit_one(&mut self, unit: &Arc<str>, limit: usize) {
        if self.own.len() < limit && !self.folded.contains(unit) {
            self.own.insert(Arc::clone(unit));
        }
    }

    /// The name a counter of `unit` goes by. Units that are gone from the tree have counters, too.
    fn counted(&mut self, unit: &mut Arc<str>) {
        self.admit_one(unit, self.units);
        if !self.own.contains(unit) {
            self.folded.insert(Arc::clone(unit));
            *unit = Arc::clone(&self.other);
        }
    }

    /// The name a gauge of `unit` goes by.
    fn shown(&self, unit: &Arc<str>) -> Arc<str> {
        if &**unit == HOST {
            return Arc::clone(unit);
        }
        Arc::clone(self.own.get(unit).unwrap_or(&self.other))
    }

    fn pair(&mut self, mut key: Blame) -> Blame {
        if !self.blamed.contains(&key) {
            if self.blamed.len() < self.pairs {
                self.blamed.insert(key.clone());
            } else {
                key.reclaimer = Arc::clone(&self.other);
            }
        }
        key
    }

    /// Regions are named by any process that has the right to tag itself.
    fn region(&mut self, mut key: Critical) -> Critical {
        if &*key.region != super::UNTAGGED && !self.tagged.contains(&key) {
            if self.tagged.len() < self.regions {
                self.tagged.insert(key.clone());
            } else {
                key.region = Arc::clone(&self.other);
            }
        }
        key
    }

    fn fold_memory(&self, units: Vec<super::UnitMemory>) -> Vec<super::UnitMemory> {
        let (mut shown, rest): (Vec<_>, Vec<_>) =
            units.into_iter().partition(|unit| self.own.contains(&unit.unit));
        let add = |sum: Option<u64>, more: Option<u64>| match (sum, more) {
            (Some(sum), Some(more)) => Some(sum + more),
            (sum, more) => sum.or(more),
        };
        let others = rest.into_iter().reduce(|sum, unit| super::UnitMemory {
            memory_bytes: add(sum.memory_bytes, unit.memory_bytes),
            swap_bytes: add(sum.swap_bytes, unit.swap_bytes),
            ..sum
        });
        shown.extend(others.map(|sum| super::UnitMemory {
            unit: Arc::clone(&self.other),
            priority: Priority::Observe,
            ..sum
        }));
        shown
    }
}

fn sum<K: Ord>(counts: BTreeMap<K, u64>, mut rename: impl FnMut(K) -> K) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (key, count) in counts {
        *sums.entry(rename(key)).or_default() += count;
    }
    sums
}
