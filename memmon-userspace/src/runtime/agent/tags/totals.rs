//! What was counted of tagged regions, by unit and label, kept when their tags end: a metric must not fall.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::attribute::{OTHER, tags::Label};

/// Pairs of unit and label that are counted apart; further labels of a unit count as `other`. Any process that may tag
/// can make up labels.
const PAIRS: usize = 2000;

/// Sums of pages, and what was seen of the kernel's counters.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// By number of the label.
    names: HashMap<u32, Named>,
    sums: BTreeMap<(Arc<str>, Arc<str>), u64>,
}

#[derive(Debug)]
struct Named {
    unit: Arc<str>,
    name: Arc<str>,
    /// The kernel's counter at the last reading, pages.
    seen: u64,
}

impl Totals {
    /// Whose the labels are; needed before anything can be counted for them.
    pub(super) fn name(&mut self, unit: &str, labels: &[Label]) {
        let unit: Arc<str> = Arc::from(unit);
        for label in labels {
            self.names.entry(label.number).or_insert_with(|| Named {
                unit: Arc::clone(&unit),
                name: Arc::clone(&label.name),
                seen: 0,
            });
        }
    }

    /// Takes a reading of the kernel's counters over, by number of the label. A label that is not known any more was
    /// read for the last time.
    pub(super) fn count(&mut self, counted: &HashMap<u32, u64>, is_known: impl Fn(u32) -> bool) {
        for (number, pages) in counted {
            let Some(named) = self.names.get_mut(number) else {
                continue;
            };
            let gained = pages.saturating_sub(named.seen);
            named.seen = *pages;
            if gained == 0 {
                continue;
            }
            let mut key = (Arc::clone(&named.unit), Arc::clone(&named.name));
            if !self.sums.contains_key(&key) && self.sums.len() >= PAIRS {
                key.1 = Arc::from(OTHER);
            }
            *self.sums.entry(key).or_default() += gained;
        }
        self.names.retain(|number, _| is_known(*number));
    }

    /// The kernel's counters begin at 0 again: page level was attached anew.
    pub(super) fn counters_are_new(&mut self) {
        self.names.values_mut().for_each(|named| named.seen = 0);
    }

    /// Unit, label and pages; never less than before.
    pub(super) fn by_region(&self) -> Vec<(Arc<str>, Arc<str>, u64)> {
        let sums = self.sums.iter();
        sums.map(|((unit, name), pages)| (Arc::clone(unit), Arc::clone(name), *pages))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(number: u32, name: &str) -> Label {
        Label {
            number,
            name: Arc::from(name),
        }
    }

    fn sums(totals: &Totals) -> Vec<(String, String, u64)> {
        let all = totals.by_region().into_iter();
        all.map(|(unit, name, pages)| (unit.to_string(), name.to_string(), pages))
            .collect()
    }

    fn sum(unit: &str, name: &str, pages: u64) -> (String, String, u64) {
        (unit.to_owned(), name.to_owned(), pages)
    }

    #[test]
    fn what_a_tag_has_counted_stays_when_it_ends_and_a_new_one_adds_to_it() {
        let mut totals = Totals::default();
        totals.name("a.service", &[label(1, "weights"), label(2, "cache")]);
        totals.count(&[(1, 10), (2, 3)].into(), |_| true);
        totals.count(&[(1, 12), (2, 3)].into(), |_| true);
        assert_eq!(
            sums(&totals),
            [sum("a.service", "cache", 3), sum("a.service", "weights", 12)]
        );
        // Its last pages are in the reading that ends it.
        totals.count(&[(1, 15), (2, 3)].into(), |number| number == 2);
        totals.count(&[(2, 3)].into(), |number| number == 2);
        assert_eq!(sums(&totals)[1], sum("a.service", "weights", 15));
        // The service restarts: the same label by another number, whose counter begins at 0.
        totals.name("a.service", &[label(3, "weights")]);
        totals.count(&[(2, 3), (3, 4)].into(), |number| number > 1);
        assert_eq!(sums(&totals)[1], sum("a.service", "weights", 19));
        assert_eq!(totals.names.len(), 2, "numbers that are gone are forgotten");
    }

    #[test]
    fn counters_that_begin_anew_add_to_what_was() {
        let mut totals = Totals::default();
        totals.name("a.service", &[label(1, "weights")]);
        totals.count(&[(1, 10)].into(), |_| true);
        totals.counters_are_new();
        totals.count(&[(1, 2)].into(), |_| true);
        assert_eq!(sums(&totals), [sum("a.service", "weights", 12)]);
        // Before the counter is there again, nothing is lost either.
        totals.count(&HashMap::new(), |_| true);
        assert_eq!(sums(&totals), [sum("a.service", "weights", 12)]);
    }

    #[test]
    fn made_up_labels_are_counted_together_and_nothing_is_lost() {
        let mut totals = Totals::default();
        for number in 0..3000 {
            totals.name("a.service", &[label(number, &format!("label-{number}"))]);
            totals.count(&[(number, 2)].into(), |_| false);
        }
        let all = sums(&totals);
        assert_eq!(all.len(), PAIRS + 1);
        assert_eq!(all.iter().map(|(.., pages)| pages).sum::<u64>(), 6000);
        assert!(all.contains(&sum("a.service", OTHER, 2000)));
        assert!(totals.names.is_empty());
    }

    #[test]
    fn a_counter_of_nobody_known_is_left_out() {
        let mut totals = Totals::default();
        totals.count(&[(9, 5)].into(), |_| true);
        assert_eq!(sums(&totals), []);
    }
}
