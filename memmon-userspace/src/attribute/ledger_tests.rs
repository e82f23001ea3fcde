use memmon_common::event::reclaim_kind::{DIRECT, KSWAPD};
use proptest::prelude::*;

use super::*;
use crate::decode::{CgroupChange, CgroupLife};

fn mkdir(index: &mut UnitIndex, id: u64, path: &str) {
    index.apply_life(&CgroupLife {
        ts_ns: 0,
        change: CgroupChange::Mkdir,
        id,
        parent: None,
        path: Some(path.to_owned()),
        inherited_critical: false,
    });
}

fn index() -> UnitIndex {
    let mut index = UnitIndex::new();
    mkdir(&mut index, 1, "/system.slice/a.service");
    mkdir(&mut index, 2, "/system.slice/a.service/inner");
    mkdir(&mut index, 3, "/system.slice/b.service");
    index
}

fn key(owner: u64, reclaimer: u64, kind: u32) -> SwapOutKey {
    SwapOutKey {
        owner,
        reclaimer,
        kind: kind.into(),
    }
}

fn blame(ledger: &Ledger) -> Vec<(String, Option<String>, &'static str, u64)> {
    let mut all: Vec<_> = ledger
        .blame()
        .map(|(k, n)| {
            (
                k.victim.to_string(),
                k.reclaimer.as_deref().map(str::to_owned),
                k.kind.as_str(),
                n,
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn counters_are_summed_per_unit_across_restarts() {
    let mut index = index();
    let mut ledger = Ledger::new(100, 100);
    ledger.apply(&[(key(1, 0, KSWAPD), 10), (key(2, 3, DIRECT), 5)], &index);
    // a.service restarts: a new id, while the old one still loses pages.
    mkdir(&mut index, 9, "/system.slice/a.service");
    ledger.apply(
        &[
            (key(1, 0, KSWAPD), 12),
            (key(2, 3, DIRECT), 5),
            (key(9, 0, KSWAPD), 100),
        ],
        &index,
    );
    assert_eq!(ledger.pages_of("a.service"), Some(117));
    assert_eq!(ledger.pages_of("b.service"), Some(0));
    assert_eq!(ledger.total_pages(), 117);
    let a = || "a.service".to_owned();
    assert_eq!(
        blame(&ledger),
        [
            (a(), None, "kswapd", 112),
            (a(), Some("b.service".to_owned()), "direct", 5)
        ]
    );
    let mut kinds: Vec<_> = ledger
        .by_kind()
        .map(|(unit, kind, n)| (unit.to_string(), kind, n))
        .collect();
    kinds.sort();
    assert_eq!(
        kinds,
        [(a(), ReclaimKind::Kswapd, 112), (a(), ReclaimKind::Direct, 5)]
    );
}

#[test]
fn what_was_booked_as_unknown_stays_there() {
    let mut index = index();
    let mut ledger = Ledger::new(100, 100);
    let first = [(key(50, 60, DIRECT), 7), (key(1, 0, KSWAPD), 1)];
    assert_eq!(ledger.unresolved(&first, &index), [50, 60]);
    ledger.apply(&first, &index);
    assert_eq!(
        ledger.unresolved(&first, &index),
        [0; 0],
        "no new pages, no reason to scan"
    );
    mkdir(&mut index, 50, "/c.service");
    ledger.apply(&[(key(50, 60, DIRECT), 9), (key(1, 0, KSWAPD), 1)], &index);
    assert_eq!(
        (ledger.pages_of(UNKNOWN_UNIT), ledger.pages_of("c.service")),
        (Some(7), Some(2))
    );
}

#[test]
fn an_older_snapshot_changes_nothing() {
    let index = index();
    let mut ledger = Ledger::new(100, 100);
    let newer = [(key(1, 0, KSWAPD), 10), (key(2, 3, DIRECT), 5)];
    ledger.apply(&newer, &index);
    ledger.apply(&[(key(1, 0, KSWAPD), 4), (key(2, 3, DIRECT), 5)], &index);
    assert_eq!(ledger.total_pages(), 15);
    ledger.apply(&[(key(1, 0, KSWAPD), 12), (key(2, 3, DIRECT), 5)], &index);
    assert_eq!(
        (ledger.total_pages(), ledger.pages_of("a.service")),
        (17, Some(17))
    );
}

#[test]
fn an_empty_snapshot_changes_nothing() {
    let index = index();
    let mut ledger = IdLedger::new(100);
    ledger.apply(&[(1, 10)], &index);
    ledger.apply(&[], &index);
    ledger.apply(&[(1, 10)], &index);
    assert_eq!(ledger.pages_of("a.service"), Some(10));
}

#[test]
fn a_key_that_one_snapshot_leaves_out_is_counted_once() {
    let index = index();
    let mut ledger = IdLedger::new(100);
    ledger.apply(&[(1, 10), (3, 1)], &index);
    ledger.apply(&[(3, 2)], &index);
    ledger.apply(&[(1, 11), (3, 2)], &index);
    assert_eq!(
        (ledger.pages_of("a.service"), ledger.pages_of("b.service")),
        (Some(11), Some(2))
    );
}

#[test]
fn an_older_snapshot_is_no_reason_to_scan() {
    let mut ledger = Ledger::new(100, 100);
    ledger.apply(&[(key(50, 0, KSWAPD), 7)], &index());
    assert_eq!(ledger.unresolved(&[(key(50, 0, KSWAPD), 6)], &index()), [0; 0]);
}

#[test]
fn later_units_are_other_and_early_ones_keep_their_name() {
    let index = index();
    let mut ledger = Ledger::new(1, 1);
    ledger.apply(&[(key(1, 0, KSWAPD), 1)], &index);
    ledger.apply(
        &[
            (key(1, 0, KSWAPD), 2),
            (key(3, 1, DIRECT), 5),
            (key(1, 3, DIRECT), 6),
        ],
        &index,
    );
    assert_eq!(
        (ledger.pages_of("a.service"), ledger.pages_of("b.service")),
        (Some(8), None)
    );
    assert_eq!(ledger.total_pages(), 13);
    let other = || Some(OTHER.to_owned());
    assert_eq!(
        blame(&ledger),
        [
            ("a.service".to_owned(), None, "kswapd", 2),
            ("a.service".to_owned(), other(), "direct", 6),
            (OTHER.to_owned(), other(), "direct", 5),
        ]
    );
}

#[test]
fn an_unknown_kind_is_counted_as_other() {
    let mut ledger = Ledger::new(10, 10);
    ledger.apply(&[(key(1, 0, 4711), 3)], &index());
    assert_eq!(
        ledger.by_kind().map(|(_, kind, n)| (kind, n)).collect::<Vec<_>>(),
        [(ReclaimKind::Other, 3)]
    );
}

proptest! {
    /// Readings of one set of counters, booked in any order and with keys left out, never add up to more than
    /// the counters; once the last complete one is booked, to exactly them.
    #[test]
    fn the_order_of_snapshots_does_not_matter(
        steps in prop::collection::vec((0..6u64, 0..50u64), 1..40),
        order in prop::collection::vec((any::<prop::sample::Index>(), 0..7u64), 0..40),
    ) {
        let index = index();
        let mut counters: HashMap<u64, u64> = HashMap::new();
        let mut snapshots: Vec<Vec<(u64, u64)>> = Vec::new();
        for (id, pages) in steps {
            *counters.entry(id).or_default() += pages;
            snapshots.push(counters.iter().map(|(id, pages)| (*id, *pages)).collect());
        }
        let counted: u64 = counters.values().sum();
        let mut ledger = IdLedger::new(100);
        for (which, left_out) in order {
            let snapshot: Vec<_> = which.get(&snapshots).iter().copied().filter(|(id, _)| *id != left_out).collect();
            ledger.apply(&snapshot, &index);
            prop_assert!(ledger.by_unit().map(|(_, n)| n).sum::<u64>() <= counted);
        }
        ledger.apply(&snapshots[snapshots.len() - 1], &index);
        prop_assert_eq!(ledger.by_unit().map(|(_, n)| n).sum::<u64>(), counted);
    }

    /// Whatever is counted, learned or forgotten in between: sums never fall, none is lost, and the three views
    /// agree.
    #[test]
    fn sums_are_monotone_and_complete(
        steps in prop::collection::vec((0..6u64, 0..4u64, 1..8u32, 0..50u64, any::<bool>()), 1..60),
        limit in 0..4usize,
    ) {
        let mut index = UnitIndex::new();
        let mut counters: HashMap<SwapOutKey, u64> = HashMap::new();
        let mut ledger = Ledger::new(limit, limit);
        let mut before: HashMap<(Arc<str>, ReclaimKind), u64> = HashMap::new();
        for (owner, reclaimer, kind, pages, learn) in steps {
            *counters.entry(key(owner, reclaimer, kind)).or_default() += pages;
            if learn {
                mkdir(&mut index, owner, &format!("/u{}.service", owner % 3));
            }
            let snapshot: Vec<_> = counters.iter().map(|(k, v)| (*k, *v)).collect();
            ledger.apply(&snapshot, &index);
            let now: HashMap<_, _> = ledger.by_kind().map(|(u, k, n)| ((Arc::clone(u), k), n)).collect();
            for (series, n) in &before {
                prop_assert!(now.get(series) >= Some(n), "{:?} fell", series);
            }
            let counted: u64 = counters.values().sum();
            prop_assert_eq!(ledger.total_pages(), counted);
            prop_assert_eq!(ledger.blame().map(|(_, n)| n).sum::<u64>(), counted);
            before = now;
        }
    }
}
