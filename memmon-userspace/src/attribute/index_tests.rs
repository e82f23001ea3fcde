use proptest::prelude::*;

use super::*;
use crate::attribute::UnitKind;
use crate::source::cgroup_tree::ScannedCgroup;

fn life(change: CgroupChange, id: u64, parent: Option<u64>, path: Option<&str>) -> CgroupLife {
    CgroupLife {
        ts_ns: 0,
        change,
        id,
        parent,
        path: path.map(str::to_owned),
        inherited_critical: false,
    }
}

fn mkdir(id: u64, path: &str) -> CgroupLife {
    life(CgroupChange::Mkdir, id, None, Some(path))
}

fn rmdir(id: u64) -> CgroupLife {
    life(CgroupChange::Rmdir, id, None, None)
}

fn release(id: u64) -> CgroupLife {
    life(CgroupChange::Release, id, None, None)
}

fn scan(cgroups: &[(u64, &str)]) -> Scan {
    let cgroups = cgroups
        .iter()
        .map(|&(id, path)| ScannedCgroup {
            id,
            path: path.to_owned(),
        })
        .collect();
    Scan {
        cgroups,
        complete: true,
    }
}

fn scanned(cgroups: &[(u64, &str)]) -> UnitIndex {
    let mut index = UnitIndex::new();
    let token = index.scan_token();
    index.apply_scan(token, &scan(cgroups));
    index
}

fn unit(index: &UnitIndex, id: u64) -> Option<&str> {
    index.unit_of(id).map(|unit| &**unit)
}

const A: &str = "/system.slice/a.service";

#[test]
fn a_scan_names_everything_in_the_tree() {
    let index = scanned(&[
        (1, "/"),
        (2, "/system.slice"),
        (3, A),
        (4, "/system.slice/a.service/x"),
        (5, "/docker/q"),
    ]);
    assert_eq!(unit(&index, 1), Some("-.slice"));
    assert_eq!(unit(&index, 4), Some("a.service"));
    let nested = index.resolve(4).expect("known");
    assert_eq!(
        (nested.unit_cgroup(), nested.is_nested(), nested.alive),
        (Some(A), Some(true), true)
    );
    assert_eq!(index.resolve(5).expect("known").kind, UnitKind::None);
    assert_eq!(index.ids_of_unit("a.service"), [3, 4]);
    assert_eq!(index.cgroup_of_unit("a.service"), Some((3, &Arc::from(A))));
    assert_eq!(index.cgroup_of_unit("-.slice"), Some((1, &Arc::from("/"))));
    assert_eq!(index.resolve(99), None);
    assert_eq!(index.units().count(), 4);
}

#[test]
fn a_restarted_unit_has_a_new_id_and_the_old_one_keeps_its_name() {
    let mut index = scanned(&[(3, A)]);
    assert!(
        matches!(index.apply_life(&rmdir(3)), LifeUpdate::Removed(gone) if &*gone.unit == "a.service" && !gone.alive)
    );
    assert_eq!(index.cgroup_of_unit("a.service"), None);
    assert!(matches!(index.apply_life(&mkdir(9, A)), LifeUpdate::Added(new) if &*new.unit == "a.service"));
    assert_eq!(index.id_at(A), Some(9));
    assert_eq!(index.ids_of_unit("a.service"), [9]);
    assert_eq!(
        (unit(&index, 3), unit(&index, 9)),
        (Some("a.service"), Some("a.service"))
    );
    assert_eq!(
        index.resolve(3).expect("known").path.as_deref(),
        Some(A),
        "a dying cgroup keeps its path"
    );
    assert_eq!(index.apply_life(&release(3)), LifeUpdate::Released);
    assert_eq!(
        (unit(&index, 3), index.resolve(3).expect("known").path),
        (Some("a.service"), None)
    );
    assert_eq!(index.apply_life(&mkdir(9, A)), LifeUpdate::Unchanged);
}

#[test]
fn a_path_that_another_unit_takes_over_does_not_rename_the_old_id() {
    let mut index = scanned(&[(3, "/docker/q")]);
    index.apply_life(&rmdir(3));
    index.apply_life(&mkdir(4, "/docker/q"));
    index.apply_life(&mkdir(5, "/x.service"));
    assert_eq!(
        (unit(&index, 3), unit(&index, 5)),
        (Some("/docker/q"), Some("x.service"))
    );
}

#[test]
fn events_without_a_path_follow_the_parent_or_ask_for_a_scan() {
    let mut index = scanned(&[(2, "/system.slice"), (3, A)]);
    let added = index.apply_life(&life(CgroupChange::Mkdir, 4, Some(3), None));
    assert!(matches!(added, LifeUpdate::Added(new) if &*new.unit == "a.service" && new.path.is_none()));
    assert_eq!(
        index.apply_life(&life(CgroupChange::Mkdir, 5, Some(2), None)),
        LifeUpdate::NeedsScan
    );
    assert_eq!(
        index.apply_life(&life(CgroupChange::Mkdir, 6, None, None)),
        LifeUpdate::NeedsScan
    );
    assert_eq!(unit(&index, 5), None, "no name is better than a guessed one");
    let token = index.scan_token();
    let update = index.apply_scan(
        token,
        &scan(&[
            (2, "/system.slice"),
            (3, A),
            (4, "/system.slice/a.service/long"),
            (5, "/system.slice/b.service"),
        ]),
    );
    assert_eq!(
        update,
        ScanUpdate {
            added: vec![5],
            removed: vec![]
        }
    );
    assert_eq!(
        index.resolve(4).expect("known").path.as_deref(),
        Some("/system.slice/a.service/long")
    );
    assert_eq!(unit(&index, 5), Some("b.service"));
}

#[test]
fn a_rescan_finds_what_lost_events_would_have_told() {
    let mut index = scanned(&[(2, "/system.slice"), (3, A)]);
    let token = index.scan_token();
    let update = index.apply_scan(
        token,
        &scan(&[(2, "/system.slice"), (7, "/system.slice/b.service")]),
    );
    assert_eq!(
        update,
        ScanUpdate {
            added: vec![7],
            removed: vec![3]
        }
    );
    assert!(!index.resolve(3).expect("known for ever").alive);

    let token = index.scan_token();
    let cut = Scan {
        complete: false,
        ..scan(&[])
    };
    assert_eq!(
        index.apply_scan(token, &cut),
        ScanUpdate::default(),
        "an incomplete scan proves no absence"
    );
}

#[test]
fn a_scan_neither_revives_the_dead_nor_kills_the_newborn() {
    let mut index = scanned(&[(3, A)]);
    let token = index.scan_token();
    let snapshot = scan(&[(3, A)]);
    // Both events are newer than the snapshot.
    index.apply_life(&rmdir(3));
    index.apply_life(&mkdir(4, "/system.slice/new.service"));
    assert_eq!(index.apply_scan(token, &snapshot), ScanUpdate::default());
    assert!(!index.resolve(3).expect("known").alive);
    assert_eq!(index.id_at(A), None, "nor does it take the path back");
    assert!(index.resolve(4).expect("known").alive);
    index.apply_life(&release(3));
    let token = index.scan_token();
    assert_eq!(index.apply_scan(token, &snapshot).added, [0; 0]);
}

#[test]
fn events_that_a_scan_has_overtaken_leave_the_path_with_the_newest() {
    // The ring still holds: mkdir 3, rmdir 3, mkdir 9, all at one path; the scan has seen 9 already.
    let mut index = scanned(&[(9, A)]);
    for event in [mkdir(3, A), rmdir(3), mkdir(9, A)] {
        index.apply_life(&event);
    }
    assert_eq!(index.id_at(A), Some(9));
    assert_eq!(index.cgroup_of_unit("a.service").map(|(id, _)| id), Some(9));
    assert_eq!(index.ids_of_unit("a.service"), [9]);
}

#[test]
fn delegation_is_known_from_systemd_and_holds_below_the_unit_only() {
    let mut index = scanned(&[(3, A), (4, "/system.slice/a.service/x")]);
    assert!(!index.resolve(4).expect("known").delegated);
    index.set_facts(
        "a.service",
        UnitFacts {
            delegated: true,
            ..UnitFacts::default()
        },
    );
    assert!(index.resolve(4).expect("known").delegated);
    assert!(!index.resolve(3).expect("known").delegated);
    index.clear_facts("a.service");
    assert!(!index.resolve(4).expect("known").delegated);
    // systemd may speak first.
    index.set_facts(
        "later.service",
        UnitFacts {
            delegated: true,
            ..UnitFacts::default()
        },
    );
    index.apply_life(&mkdir(8, "/later.service/x"));
    assert!(index.resolve(8).expect("known").delegated);
}

#[test]
fn a_snapshot_of_systemd_replaces_what_it_said_before() {
    let info = |name: &str| UnitInfo {
        name: name.to_owned(),
        aliases: vec!["al.service".to_owned()],
        ..UnitInfo::default()
    };
    let mut index = scanned(&[(3, A)]);
    index.set_facts("old.service", UnitFacts::default());
    index.set_all_facts(&[info("a.service")]);
    assert_eq!(index.facts("a.service").expect("told").aliases, ["al.service"]);
    assert_eq!(index.facts("old.service"), None);
    assert_eq!(unit(&index, 3), Some("a.service"));
}

#[test]
fn released_cgroups_without_counters_are_forgotten_with_their_units() {
    let mut index = scanned(&[(3, A)]);
    let units = index.units().count();
    for id in 1_000..101_000 {
        index.apply_life(&mkdir(id, &format!("/system.slice/run-u{id}.service")));
        index.apply_life(&rmdir(id));
        index.apply_life(&release(id));
    }
    assert_eq!(
        unit(&index, 50_000),
        Some("run-u50000.service"),
        "known until somebody says otherwise"
    );
    let size = index.released.capacity() * size_of::<(u64, Arc<str>)>();
    assert!(size < 6 << 20, "100,000 released cgroups take {size} bytes");
    assert_eq!(index.forget_released(|id| id == 50_000), 99_999);
    assert_eq!(
        (unit(&index, 50_000), unit(&index, 50_001)),
        (Some("run-u50000.service"), None)
    );
    assert_eq!(index.units().count(), units + 1);
    assert!(index.released.capacity() < 100 && index.units.capacity() < 100);
    assert_eq!(unit(&index, 3), Some("a.service"));
}

#[test]
fn a_cgroup_v1_rename_moves_the_id() {
    let mut index = scanned(&[(3, "/x/old")]);
    let token = index.scan_token();
    index.apply_scan(token, &scan(&[(3, "/x/new")]));
    assert_eq!(
        (unit(&index, 3), index.id_at("/x/old"), index.id_at("/x/new")),
        (Some("/x/new"), None, Some(3))
    );
    assert_eq!(index.ids_of_unit("/x/old"), [0; 0]);
}

/// What a kernel does: ids are never used twice, a path has one cgroup at a time.
#[derive(Debug, Clone)]
enum Step {
    Make(u8),
    Remove(u8),
    Release,
    Scan,
    LoseEvents(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8).prop_map(Step::Make),
        3 => (0..6u8).prop_map(Step::Remove),
        1 => Just(Step::Release),
        1 => Just(Step::Scan),
        1 => any::<bool>().prop_map(Step::LoseEvents),
    ]
}

proptest! {
    #[test]
    fn no_order_of_events_and_scans_gives_a_wrong_name(steps in prop::collection::vec(step(), 1..80)) {
        let path = |slot: u8| format!("/system.slice/u{}.service", slot / 2) + if slot % 2 == 1 { "/sub" } else { "" };
        let mut index = UnitIndex::new();
        let mut tree: HashMap<u8, u64> = HashMap::new();
        let mut truth: HashMap<u64, String> = HashMap::new();
        let mut dying: Vec<u64> = Vec::new();
        let mut losing = false;
        let send = |index: &mut UnitIndex, losing: bool, event: CgroupLife| if !losing { index.apply_life(&event); };
        for step in steps.into_iter().chain([Step::Scan]) {
            match step {
                Step::Make(slot) => {
                    let id = truth.len() as u64 + 10;
                    if *tree.entry(slot).or_insert(id) == id {
                        truth.insert(id, format!("u{}.service", slot / 2));
                        send(&mut index, losing, mkdir(id, &path(slot)));
                    }
                }
                Step::Remove(slot) => if let Some(id) = tree.remove(&slot) {
                    dying.push(id);
                    send(&mut index, losing, rmdir(id));
                },
                Step::Release => if let Some(id) = dying.pop() {
                    send(&mut index, losing, release(id));
                },
                Step::LoseEvents(lose) => losing = lose,
                Step::Scan => {
                    let paths: Vec<_> = tree.iter().map(|(&slot, &id)| (id, path(slot))).collect();
                    let view: Vec<_> = paths.iter().map(|(id, path)| (*id, path.as_str())).collect();
                    let token = index.scan_token();
                    index.apply_scan(token, &scan(&view));
                }
            }
            for (id, name) in &truth {
                prop_assert!(index.unit_of(*id).is_none_or(|unit| **unit == **name), "{} is not {:?}", id, index.resolve(*id));
            }
        }
        // The last step was a scan: exactly the tree is alive.
        let mut alive: Vec<u64> = index.units().flat_map(|unit| unit.alive.to_vec()).collect();
        let mut expected: Vec<u64> = tree.values().copied().collect();
        alive.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(alive, expected);
        for (&slot, &id) in &tree {
            prop_assert_eq!(index.id_at(&path(slot)), Some(id));
        }
    }
}
