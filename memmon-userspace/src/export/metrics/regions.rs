//! Critical pages by region: a page of a tagged region counts under its label, every other one as `untagged`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Critical, UNTAGGED};
use crate::attribute::OTHER;

/// What was split so far. Lives as long as the agent, since no counter may fall.
#[derive(Debug, Default)]
pub struct Regions {
    /// Totals by unit and label at the last reading.
    seen: HashMap<(Arc<str>, Arc<str>), u64>,
    /// Pages of tagged regions that went out while their unit was critical, by unit: the unit's own counter has them
    /// as well.
    in_both: HashMap<Arc<str>, u64>,
    untagged: BTreeMap<Arc<str>, u64>,
}

impl Regions {
    /// Splits what was counted: `critical`, pages of each unit while it was critical, read before `tagged`, those of
    /// each unit's regions. What `tagged` has gained is booked under what `is_critical` says now.
    ///
    /// Never less than before, and each page once: the two are not read at the same moment, so what is left for
    /// `untagged` can be too low for one reading, never too high.
    pub fn split(
        &mut self,
        critical: &[(Arc<str>, u64)],
        tagged: &[(Arc<str>, Arc<str>, u64)],
        is_critical: impl Fn(&str) -> bool,
    ) -> BTreeMap<Critical, u64> {
        let mut split: BTreeMap<Critical, u64> = BTreeMap::new();
        for (unit, label, pages) in tagged {
            let seen = self
                .seen
                .entry((Arc::clone(unit), Arc::clone(label)))
                .or_default();
            let gained = pages.saturating_sub(*seen);
            *seen += gained;
            if gained > 0 && is_critical(unit) {
                *self.in_both.entry(Arc::clone(unit)).or_default() += gained;
            }
            // The name that memmon gives to what has none cannot be taken.
            let region = if **label == *UNTAGGED {
                Arc::from(OTHER)
            } else {
                Arc::clone(label)
            };
            let unit = Arc::clone(unit);
            *split.entry(Critical { unit, region }).or_default() += *seen;
        }
        for (unit, pages) in critical {
            let left = pages.saturating_sub(self.in_both.get(unit).copied().unwrap_or(0));
            let untagged = self.untagged.entry(Arc::clone(unit)).or_default();
            *untagged = left.max(*untagged);
            if *untagged > 0 {
                let (unit, region) = (Arc::clone(unit), Arc::from(UNTAGGED));
                split.insert(Critical { unit, region }, *untagged);
            }
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(critical: &[(&str, u64)]) -> Vec<(Arc<str>, u64)> {
        critical
            .iter()
            .map(|(unit, pages)| (Arc::from(*unit), *pages))
            .collect()
    }

    fn tagged(tagged: &[(&str, &str, u64)]) -> Vec<(Arc<str>, Arc<str>, u64)> {
        tagged
            .iter()
            .map(|(unit, label, pages)| (Arc::from(*unit), Arc::from(*label), *pages))
            .collect()
    }

    fn lines(split: &BTreeMap<Critical, u64>) -> Vec<String> {
        let lines = split.iter();
        lines
            .map(|(key, pages)| format!("{} {} {pages}", key.unit, key.region))
            .collect()
    }

    #[test]
    fn each_page_of_a_critical_unit_counts_once() {
        let mut regions = Regions::default();
        let split = regions.split(
            &of(&[("a.service", 10), ("b.service", 4)]),
            &tagged(&[("a.service", "weights", 7), ("a.service", "cache", 1)]),
            |_| true,
        );
        assert_eq!(
            lines(&split),
            [
                "a.service cache 1",
                "a.service untagged 2",
                "a.service weights 7",
                "b.service untagged 4"
            ]
        );
        assert_eq!(split.values().sum::<u64>(), 14);
    }

    #[test]
    fn regions_of_units_that_are_not_critical_count_by_themselves() {
        let mut regions = Regions::default();
        let hits = tagged(&[("m.service", "weights", 7)]);
        let split = regions.split(&[], &hits, |_| false);
        assert_eq!(lines(&split), ["m.service weights 7"]);
        // It becomes critical: what went before is not taken from what comes.
        let hits = tagged(&[("m.service", "weights", 8)]);
        let split = regions.split(&of(&[("m.service", 5)]), &hits, |_| true);
        assert_eq!(lines(&split), ["m.service untagged 4", "m.service weights 8"]);
    }

    #[test]
    fn a_region_that_is_read_ahead_makes_nothing_fall() {
        let mut regions = Regions::default();
        let split = |regions: &mut Regions, all, hits| {
            lines(&regions.split(
                &of(&[("a.service", all)]),
                &tagged(&[("a.service", "w", hits)]),
                |_| true,
            ))
        };
        assert_eq!(
            split(&mut regions, 5, 0),
            ["a.service untagged 5", "a.service w 0"]
        );
        // Three pages of the region are in its counter already, and not in the unit's.
        assert_eq!(
            split(&mut regions, 5, 3),
            ["a.service untagged 5", "a.service w 3"]
        );
        assert_eq!(
            split(&mut regions, 8, 3),
            ["a.service untagged 5", "a.service w 3"]
        );
        assert_eq!(
            split(&mut regions, 9, 3),
            ["a.service untagged 6", "a.service w 3"]
        );
    }

    #[test]
    fn nobody_can_call_a_region_untagged() {
        let mut regions = Regions::default();
        let hits = tagged(&[("a.service", "untagged", 3), ("a.service", "other", 1)]);
        let split = regions.split(&of(&[("a.service", 9)]), &hits, |_| true);
        assert_eq!(lines(&split), ["a.service other 4", "a.service untagged 5"]);
    }

    proptest! {
        #[test]
        fn no_counter_ever_falls_and_the_sum_is_that_of_the_unit(
            steps in prop::collection::vec((0..5_u64, 0..5_u64, 0..5_u64), 1..30),
        ) {
            let mut regions = Regions::default();
            let (mut seen_untagged, mut hits, mut before) = (0, 0, BTreeMap::new());
            for (plain, tagged_now, ahead) in steps {
                seen_untagged += plain;
                let all = seen_untagged + hits + tagged_now;
                // The region's counter is read later and may have some pages more.
                hits += tagged_now;
                let read = [("a.service", "w", hits + ahead)];
                let split = regions.split(&of(&[("a.service", all)]), &tagged(&read), |_| true);
                hits += ahead;
                for (key, pages) in &before {
                    prop_assert!(split.get(key).is_some_and(|now| now >= pages), "{key:?}");
                }
                before = split;
            }
            // Once both are read at rest, nothing is missing and nothing is there twice.
            let all = seen_untagged + hits;
            let split = regions.split(&of(&[("a.service", all)]), &tagged(&[("a.service", "w", hits)]), |_| true);
            prop_assert_eq!(split.values().sum::<u64>(), all);
        }
    }
}
