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
