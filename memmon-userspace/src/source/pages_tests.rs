//! What the programs' search relies on is checked before it reaches them.

use super::*;

fn range(start: u64, pages: u32, label: u32) -> TagRange {
    TagRange { start, pages, label }
}

#[test]
fn sorted_disjoint_aligned_ranges_are_well_formed() {
    let ranges = [range(0x1000, 1, 1), range(0x2000, 3, 2), range(0x5000, 1, 1)];
    assert_eq!(malformed(&ranges), None, "adjacent ranges do not overlap");
    assert_eq!(malformed(&[]), None);
}

#[test]
fn the_first_bad_range_is_named() {
    for bad in [
        range(0x1000, 1, 1),
        range(0x3001, 1, 1),
        range(0x4000, 0, 1),
        range(0x4000, 1, 0),
        range(u64::MAX - 0xfff, 1, 1),
    ] {
        let ranges = [range(0x1000, 2, 1), bad, range(0x9000, 1, 1)];
        assert_eq!(malformed(&ranges), Some(1), "{bad:x?}");
    }
}

fn tags(first: u32, generation: u32) -> ProcessTags {
    ProcessTags {
        first,
        count: 1,
        generation,
        reserved: 0,
    }
}

#[test]
fn a_process_whose_tags_are_gone_is_not_put_in_front() {
    let there = vec![(1, tags(10, 5)), (1 + FRONT_SLOTS, tags(20, 6))];
    let entries = |gone: &[u32]| {
        let mut set = Vec::new();
        show(
            there.clone(),
            |tgid, _| !gone.contains(&tgid),
            |entry| set.push(entry),
        );
        set
    };
    assert_eq!(entries(&[]), [front_entry(1, 10, 1) | FRONT_MORE]);
    assert_eq!(entries(&[1]), [front_entry(1 + FRONT_SLOTS, 20, 1)]);
    assert_eq!(entries(&[1, 1 + FRONT_SLOTS]), [0]);
}

#[test]
fn one_that_ends_while_it_is_put_in_front_is_replaced() {
    let there = vec![(1, tags(10, 5)), (1 + FRONT_SLOTS, tags(20, 6))];
    let ended = std::cell::Cell::new(false);
    let mut set = Vec::new();
    show(
        there,
        |tgid, generation| (tgid, generation) != (1, 5) || !ended.get(),
        |entry| {
            // Its end comes by just before: what it would have taken out of the front was not there yet.
            ended.set(true);
            set.push(entry);
        },
    );
    assert_eq!(set.last(), Some(&front_entry(1 + FRONT_SLOTS, 20, 1)));
}
