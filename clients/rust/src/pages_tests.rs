use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{NotHeld, PageCounts, PageRange, merged};

const fn range(start: usize, end: usize) -> PageRange {
    PageRange { start, end }
}

/// Neighbouring numbers as ranges.
fn naive(pages: impl Iterator<Item = usize>) -> Vec<PageRange> {
    merged(pages.map(|page| range(page, page + 1)).collect())
}

#[derive(Clone, Debug)]
enum Step {
    Acquire(usize, usize),
    /// The how manieth of those held, modulo their number.
    Release(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..60, 1usize..60).prop_map(|(start, len)| Step::Acquire(start, start + len)),
        (0usize..1000).prop_map(Step::Release),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn counts_as_a_number_for_every_page_does(steps in steps()) {
        let (mut counts, mut model, mut held) = (PageCounts::default(), BTreeMap::new(), Vec::new());
        for step in steps {
            match step {
                Step::Acquire(start, end) => {
                    let new = counts.acquire(range(start, end));
                    let of_model = naive((start..end).filter(|page| model.get(page).is_none_or(|n| *n == 0)));
                    prop_assert_eq!(new, of_model);
                    (start..end).for_each(|page| *model.entry(page).or_insert(0u32) += 1);
                    held.push(range(start, end));
                }
                Step::Release(which) if !held.is_empty() => {
                    let pages = held.swap_remove(which % held.len());
                    let gone = counts.release(pages);
                    (pages.start..pages.end).for_each(|page| *model.entry(page).or_insert(0) -= 1);
                    let of_model = naive((pages.start..pages.end).filter(|page| model[page] == 0));
                    prop_assert_eq!(gone, Ok(of_model));
                }
                Step::Release(_) => {}
            }
            prop_assert_eq!(counts.covered(), model.values().filter(|n| **n > 0).count());
            let free = naive((10..90).filter(|page| model.get(page).is_none_or(|n| *n == 0)));
            prop_assert_eq!(counts.free(range(10, 90)), free);
            let values: Vec<u32> = counts.from.values().copied().collect();
            prop_assert!(values.windows(2).all(|two| two[0] != two[1]), "not merged: {:?}", counts);
        }
        for pages in held {
            prop_assert!(counts.release(pages).is_ok());
        }
        prop_assert!(counts.from.is_empty(), "kept about what nobody holds: {:?}", counts);
    }
}

#[test]
fn what_is_not_held_is_not_released() {
    let mut counts = PageCounts::default();
    counts.acquire(range(2, 5));
    for pages in [range(1, 3), range(4, 6), range(7, 8)] {
        assert_eq!(counts.release(pages), Err(NotHeld(pages)));
    }
    assert_eq!(counts.release(range(2, 5)), Ok(vec![range(2, 5)]));
}

#[test]
fn aligns() {
    assert_eq!(PageRange::outwards(4097, 1, 4096), Some(range(4096, 8192)));
    assert_eq!(PageRange::outwards(4095, 2, 4096), Some(range(0, 8192)));
    assert_eq!(PageRange::outwards(usize::MAX - 5, 3, 4096), None);
    assert_eq!(PageRange::inwards(4096, 4096, 4096), Some(range(4096, 8192)));
    assert_eq!(PageRange::inwards(4097, 8192, 4096), Some(range(8192, 12288)));
    assert!(PageRange::inwards(4097, 4096, 4096).is_some_and(PageRange::is_empty));
}
