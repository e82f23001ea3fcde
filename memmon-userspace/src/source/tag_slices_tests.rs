//! Slices of the table of tagged ranges are never handed out twice, and rest before they are reused.

use proptest::prelude::*;

use super::*;

#[test]
fn a_slice_given_back_rests() {
    let mut slices = Slices::new(10, 100);
    assert_eq!(slices.take(6, 0), Some(0));
    slices.give(0, 6, 5);
    assert_eq!(slices.take(6, 104), None, "it may still be read");
    assert_eq!(slices.free(), 10, "it counts as free all the same");
    assert_eq!(slices.take(10, 105), Some(0), "and merges with its neighbour");
}

#[test]
fn the_smallest_that_fits_is_taken() {
    let mut slices = Slices::new(100, 0);
    let (a, b, _c) = (slices.take(10, 0), slices.take(5, 0), slices.take(1, 0));
    slices.give(b.expect("room"), 5, 0);
    slices.give(a.expect("room"), 10, 1);
    assert_eq!(
        slices.take(4, 0),
        Some(10),
        "the hole of five, not the one of ten"
    );
    assert_eq!(slices.take(0, 1), Some(0), "nothing needs no room");
}

proptest! {
    #[test]
    fn no_entry_has_two_owners(steps in prop::collection::vec((0u32..40, any::<bool>(), 0u64..30), 1..200)) {
        let mut slices = Slices::new(256, 50);
        let mut held: Vec<(u32, u32)> = Vec::new();
        let mut now = 0;
        for (length, take, later) in steps {
            now += later;
            if take {
                if length > 0 && let Some(first) = slices.take(length, now) {
                    prop_assert!(first + length <= 256);
                    for &(other, count) in &held {
                        prop_assert!(first + length <= other || other + count <= first);
                    }
                    held.push((first, length));
                }
            } else if !held.is_empty() {
                let (first, count) = held.swap_remove(length as usize % held.len());
                slices.give(first, count, now);
            }
            prop_assert_eq!(slices.free() + held.iter().map(|h| h.1).sum::<u32>(), 256);
        }
        for (first, count) in held.drain(..) {
            slices.give(first, count, now);
        }
        prop_assert_eq!(slices.take(256, now + 50), Some(0), "everything comes back");
    }
}
