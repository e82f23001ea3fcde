use super::*;
use crate::decode::Reclaimer;
use crate::source::cgroup_tree::{Scan, ScannedCgroup};

fn index() -> UnitIndex {
    let cgroup = |id, path: &str| ScannedCgroup {
        id,
        path: path.to_owned(),
    };
    let cgroups = vec![
        cgroup(7, "/system.slice/a.service"),
        cgroup(8, "/system.slice/b.service/inner"),
    ];
    let mut index = UnitIndex::new();
    let token = index.scan_token();
    index.apply_scan(
        token,
        &Scan {
            cgroups,
            complete: true,
        },
    );
    index
}

fn swap_out(owner: u64, reclaimer: Option<u64>) -> SwapOut {
    let kind = if reclaimer.is_some() {
        ReclaimKind::Direct
    } else {
        ReclaimKind::Kswapd
    };
    let reclaimer = Reclaimer {
        kind,
        cgroup_id: reclaimer,
        pid: 45,
        comm: "x".to_owned(),
    };
    SwapOut {
        ts_ns: 1,
        owner,
        reclaimer,
        pages: 16,
        suppressed_pages: 3,
        folio: 0,
    }
}

#[test]
fn owner_and_reclaimer_get_their_names() {
    let event = attribute(&index(), swap_out(7, Some(8)), |owner| {
        assert_eq!(&*owner.unit, "a.service");
        Priority::Critical
    });
    assert_eq!((event.unit(), event.priority), ("a.service", Priority::Critical));
    assert_eq!(event.reclaimer.unit.as_deref(), Some("b.service"));
    assert_eq!((event.pages, event.suppressed_pages), (16, 3));
    assert!(!event.is_self_inflicted());
    assert!(attribute(&index(), swap_out(8, Some(8)), |_| Priority::Low).is_self_inflicted());
}

#[test]
fn an_unknown_owner_has_no_priority_and_no_borrowed_name() {
    let event = attribute(&index(), swap_out(99, None), |_| {
        panic!("asked for the priority of nobody")
    });
    assert_eq!(
        (event.unit(), event.priority, event.owner.is_none()),
        (UNKNOWN_UNIT, Priority::Observe, true)
    );
    assert_eq!(event.reclaimer.unit, None);
    assert!(!event.is_self_inflicted());
}
