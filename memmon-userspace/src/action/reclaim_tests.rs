use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;

/// A copy of a cgroup in which writing `memory.reclaim` leaves a trace and frees nothing.
fn tree(current: u64, low: &str) -> (tempfile::TempDir, Reclaim) {
    let dir = tempfile::tempdir().expect("a directory");
    let cgroup = dir.path().join("batch.service");
    fs::create_dir(&cgroup).expect("made");
    for (name, text) in [
        ("cgroup.procs", ""),
        ("memory.current", current.to_string().as_str()),
        ("memory.low", low),
        ("memory.min", "0"),
        ("memory.reclaim", ""),
    ] {
        fs::write(cgroup.join(name), text).expect("written");
    }
    let order = Reclaim {
        unit: "batch.service".into(),
        cgroup: "/batch.service".into(),
        inode: fs::metadata(&cgroup).expect("it is there").ino(),
        amount: 20 << 20,
        swappiness: Some(0),
        pressure: 1000,
    };
    (dir, order)
}

fn run(dir: &tempfile::TempDir, order: &Reclaim) -> (Reclaimed, String) {
    let root = CgroupRoot::open(dir.path()).expect("it opens");
    let done = reclaim(&root, order, &AtomicBool::new(false));
    let written = fs::read_to_string(dir.path().join("batch.service/memory.reclaim")).expect("it is there");
    (done, written)
}

#[test]
fn it_asks_piece_by_piece_for_no_more_than_the_amount() {
    let (dir, order) = tree(100 << 20, "0");
    let (done, written) = run(&dir, &order);
    assert!(done.ended.is_none());
    // A regular file keeps the longest of the three writes: 8, 8 and 4 MiB.
    assert_eq!(written, format!("{} swappiness=0", 4 << 20));
    let plain = Reclaim {
        swappiness: None,
        amount: 4096,
        ..order
    };
    fs::write(dir.path().join("batch.service/memory.reclaim"), "").expect("written");
    assert_eq!(run(&dir, &plain).1, "4096");
}

#[test]
fn it_leaves_alone_what_is_protected_gone_or_somebody_elses() {
    let (dir, order) = tree(100 << 20, "99000000");
    let (done, written) = run(&dir, &order);
    assert!(matches!(done.ended, Some(ReclaimError::Protected)), "{done:?}");
    assert_eq!(written, "");
    let (dir, order) = tree(100 << 20, "max");
    assert!(matches!(run(&dir, &order).0.ended, Some(ReclaimError::Protected)));
    let (dir, order) = tree(100 << 20, "0");
    let restarted = Reclaim {
        inode: order.inode + 1,
        ..order.clone()
    };
    assert!(matches!(run(&dir, &restarted).0.ended, Some(ReclaimError::Gone)));
    let stopped = Reclaim {
        unit: "gone.service".into(),
        cgroup: "/gone.service".into(),
        ..order.clone()
    };
    assert!(matches!(run(&dir, &stopped).0.ended, Some(ReclaimError::Gone)));
    let below = Reclaim {
        cgroup: "/user@1.service/batch.service".into(),
        ..order
    };
    assert!(matches!(
        run(&dir, &below).0.ended,
        Some(ReclaimError::NotTheUnits(_))
    ));
}

#[test]
fn it_ends_when_it_is_no_longer_wanted() {
    let (dir, order) = tree(100 << 20, "0");
    let root = CgroupRoot::open(dir.path()).expect("it opens");
    let done = reclaim(&root, &order, &AtomicBool::new(true));
    assert!(matches!(done.ended, Some(ReclaimError::Stopped)));
}
