//! How long the tasks of each unit waited in reclaim, summed across restarts.

use std::{collections::HashMap, sync::Arc};

use memmon_common::event::{StallHistogram, StallKey};

use super::{LabelSet, UNKNOWN_UNIT, UnitIndex};
use crate::decode::StallKind;

/// Histograms per unit and kind of stall. Sums never fall.
#[derive(Debug)]
pub struct StallLedger {
    counted: HashMap<StallKey, StallHistogram>,
    labels: LabelSet,
    unknown: Arc<str>,
    units: HashMap<(Arc<str>, StallKind), StallHistogram>,
}

impl StallLedger {
    /// A ledger of at most `unit_limit` units; the ones that come later are one unit, `other`.
    pub fn new(unit_limit: usize) -> Self {
        Self {
            counted: HashMap::new(),
            labels: LabelSet::new(unit_limit),
            unknown: Arc::from(UNKNOWN_UNIT),
            units: HashMap::new(),
        }
    }

    /// Books a snapshot of the kernel's histograms: cumulative since the programs were loaded. Snapshots may come in
    /// any order; one whose sum is smaller than what was booked is older and has nothing new. A kind that is not known
    /// is left out.
    pub fn apply(&mut self, snapshot: &[(StallKey, StallHistogram)], index: &UnitIndex) {
        for (key, now) in snapshot {
            let Ok(kind) = StallKind::try_from(key.kind) else {
                continue;
            };
            let before = self.counted.entry(*key).or_insert(StallHistogram::EMPTY);
            if now.sum_ns < before.sum_ns {
                continue;
            }
            let unit = self
                .labels
                .label(index.unit_of(key.cgroup).unwrap_or(&self.unknown));
            let sum = self.units.entry((unit, kind)).or_insert(StallHistogram::EMPTY);
            sum.sum_ns += now.sum_ns - before.sum_ns;
            before.sum_ns = now.sum_ns;
            for ((sum, &now), before) in sum.buckets.iter_mut().zip(&now.buckets).zip(&mut before.buckets) {
                // The kernel adds to them one after the other: a reading may have fallen in between.
                *sum += now.saturating_sub(*before);
                *before = now.max(*before);
            }
        }
    }

    /// Nanoseconds that tasks of `unit` have waited; `None` if it came after the limit and counts into `other`.
    pub fn nanos_of(&self, unit: &str) -> Option<u64> {
        let kinds = self.units.iter().filter(|((name, _), _)| name.as_ref() == unit);
        self.labels
            .has_room_for(unit)
            .then(|| kinds.map(|(_, stalls)| stalls.sum_ns).sum())
    }

    /// All of them, in no order.
    pub fn by_unit(&self) -> impl Iterator<Item = (&Arc<str>, StallKind, &StallHistogram)> {
        self.units
            .iter()
            .map(|((unit, kind), stalls)| (unit, *kind, stalls))
    }
}

#[cfg(test)]
mod tests {
    use memmon_common::event::stall_kind;

    use super::*;

    fn stalls(bucket: usize, count: u64, sum_ns: u64) -> StallHistogram {
        let mut histogram = StallHistogram {
            sum_ns,
            ..StallHistogram::EMPTY
        };
        histogram.buckets[bucket] = count;
        histogram
    }

    #[test]
    fn older_and_incomplete_snapshots_change_nothing() {
        let index = UnitIndex::new();
        let mut ledger = StallLedger::new(10);
        let direct = StallKey {
            cgroup: 7,
            kind: stall_kind::DIRECT.into(),
        };
        let memcg = StallKey {
            cgroup: 8,
            kind: stall_kind::MEMCG.into(),
        };
        let unheard_of = StallKey { cgroup: 7, kind: 99 };
        ledger.apply(
            &[(direct, stalls(3, 2, 500)), (unheard_of, stalls(0, 1, 1))],
            &index,
        );
        ledger.apply(&[(direct, stalls(3, 5, 900)), (memcg, stalls(1, 1, 50))], &index);
        ledger.apply(&[(memcg, stalls(1, 1, 50))], &index);
        ledger.apply(&[(direct, stalls(3, 2, 500))], &index);
        ledger.apply(&[(direct, stalls(3, 6, 1000)), (memcg, stalls(1, 1, 50))], &index);
        assert_eq!(ledger.nanos_of(UNKNOWN_UNIT), Some(1050));
        let sums: HashMap<_, _> = ledger.by_unit().map(|(_, kind, stalls)| (kind, stalls)).collect();
        assert_eq!(*sums[&StallKind::Direct], stalls(3, 6, 1000));
        assert_eq!(*sums[&StallKind::Memcg], stalls(1, 1, 50));
    }
}
