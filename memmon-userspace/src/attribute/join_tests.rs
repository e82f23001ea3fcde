//! Every page of the ledger is in exactly one piece, and every mapping is told once.

use proptest::prelude::*;

use super::*;
use crate::decode::{ProcessId, ReclaimKind, Reclaimer};

fn reclaimer() -> Reclaimer {
    Reclaimer {
        kind: ReclaimKind::Kswapd,
        cgroup_id: None,
        pid: 45,
        comm: "kswapd0".to_owned(),
    }
}

fn page(ts_ns: u64, folio: u64, tgid: u32, address: u64) -> PageOut {
    PageOut {
        ts_ns,
        owner: 9,
        reclaimer: reclaimer(),
        process: ProcessId { tgid, start_ns: 1 },
        comm: "python3".to_owned(),
        address,
        pages: 1,
        label: None,
        exact: true,
        suppressed_pages: 0,
        folio,
    }
}

fn swap_out(ts_ns: u64, folio: u64, pages: u64) -> SwapOut {
    SwapOut {
        ts_ns,
        owner: 9,
        reclaimer: reclaimer(),
        pages,
        suppressed_pages: 0,
        folio,
    }
}

/// Pages, and process and address if known.
fn told(pieces: &[Piece]) -> Vec<(u64, Option<(u32, u64)>)> {
    let place = |page: &PageOut| (page.process.tgid, page.address);
    pieces
        .iter()
        .map(|piece| (piece.event.pages, piece.page.as_ref().map(place)))
        .collect()
}

#[test]
fn a_page_is_joined_with_its_folio() {
    let mut join = PageJoin::default();
    join.left(page(1, 100, 7, 0x1000));
    join.left(page(2, 200, 7, 0x2000));
    assert_eq!(told(&join.written(swap_out(3, 200, 1))), [(1, Some((7, 0x2000)))]);
    assert_eq!(told(&join.written(swap_out(4, 100, 1))), [(1, Some((7, 0x1000)))]);
    assert!(join.unwritten(u64::MAX).is_empty(), "both have been told");
}

#[test]
fn a_shared_page_counts_once_and_is_told_of_each_process() {
    let mut join = PageJoin::default();
    join.left(page(1, 100, 7, 0x1000));
    join.left(page(2, 100, 8, 0x1000));
    assert_eq!(
        told(&join.written(swap_out(3, 100, 1))),
        [(1, Some((7, 0x1000))), (0, Some((8, 0x1000)))]
    );
}

#[test]
fn pages_of_nobody_known_are_told_together() {
    let mut join = PageJoin::default();
    join.left(page(1, 100, 7, 0x1000));
    assert_eq!(
        told(&join.written(swap_out(3, 100, 16))),
        [(1, Some((7, 0x1000))), (15, None)]
    );
    assert_eq!(told(&join.written(swap_out(4, 300, 1))), [(1, None)]);
}

#[test]
fn an_approximate_record_of_a_large_folio_is_taken_apart() {
    let mut join = PageJoin::default();
    join.left(PageOut {
        pages: 3,
        ..page(1, 100, 7, 0x1000)
    });
    let expected: Vec<_> = [0x1000, 0x2000, 0x3000].map(|at| (1, Some((7, at)))).into();
    assert_eq!(told(&join.written(swap_out(2, 100, 3))), expected);
}

#[test]
fn a_page_that_is_not_written_is_told_later_without_pages() {
    let mut join = PageJoin::default();
    join.left(page(10, 100, 7, 0x1000));
    assert!(join.unwritten(10).is_empty(), "it may still be written");
    assert_eq!(told(&join.unwritten(11)), [(0, Some((7, 0x1000)))]);
    assert!(join.unwritten(u64::MAX).is_empty(), "and only once");
}

#[test]
fn the_next_use_of_a_folio_is_not_taken_for_this_one() {
    let mut join = PageJoin::default();
    join.left(page(1, 100, 7, 0x1000));
    join.left(page(5, 100, 8, 0x9000));
    assert_eq!(told(&join.written(swap_out(2, 100, 1))), [(1, Some((7, 0x1000)))]);
    assert_eq!(told(&join.written(swap_out(6, 100, 1))), [(1, Some((8, 0x9000)))]);
}

#[test]
fn no_more_than_so_many_wait() {
    let mut join = PageJoin::default();
    for index in 0..MOST as u64 + 10 {
        join.left(page(index, index, 7, index << 12));
    }
    assert_eq!(join.unwritten(0).len(), 10);
}

proptest! {
    #[test]
    fn pages_add_up_and_no_mapping_is_lost(
        steps in prop::collection::vec((any::<bool>(), 0u64..4, 1u64..4, 0u32..3), 0..60),
    ) {
        let mut join = PageJoin::default();
        let (mut left, mut written, mut pieces) = (0, 0, Vec::new());
        for (time, (leaves, folio, pages, tgid)) in (1u64..).zip(steps) {
            if leaves {
                join.left(PageOut { pages, ..page(time, folio, tgid, time << 24) });
                left += pages;
            } else {
                pieces.extend(join.written(swap_out(time, folio, pages)));
                written += pages;
            }
        }
        pieces.extend(join.unwritten(u64::MAX));
        prop_assert_eq!(pieces.iter().map(|piece| piece.event.pages).sum::<u64>(), written);
        prop_assert_eq!(pieces.iter().filter(|piece| piece.page.is_some()).count() as u64, left);
    }
}
