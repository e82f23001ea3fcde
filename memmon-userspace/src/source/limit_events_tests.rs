#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use super::*;

const SLICE: &str = "a.slice";
const UNIT: &str = "a.slice/b.service";

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for cgroup in [SLICE, UNIT, "a.slice/c.service"] {
        fs::create_dir_all(tree.path().join(cgroup)).unwrap();
        touch(tree.path(), cgroup, "memory.events");
        touch(tree.path(), cgroup, "memory.events.local");
    }
    tree
}

/// Stands for the kernel's notification: a modification of the file.
fn touch(root: &Path, cgroup: &str, file: &str) {
    fs::write(root.join(cgroup).join(file), "max 1\n").unwrap();
}

async fn hit(events: &mut LimitEvents) -> Vec<String> {
    tokio::time::timeout(Duration::from_secs(10), events.hit())
        .await
        .expect("an event")
        .unwrap()
}

async fn assert_quiet(events: &mut LimitEvents) {
    // Nothing is pending: inotify queues before the write returns.
    assert_eq!(events.read().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn limits_of_the_unit_and_of_its_slice_are_told() {
    let tree = tree();
    let mut events = LimitEvents::new(tree.path()).unwrap();
    events.watch(["/a.slice/b.service"]).unwrap();
    touch(tree.path(), UNIT, "memory.events");
    assert_eq!(hit(&mut events).await, ["/a.slice/b.service"]);
    touch(tree.path(), SLICE, "memory.events.local");
    assert_eq!(hit(&mut events).await, ["/a.slice/b.service"]);
    // What happens to the unit's neighbours is in the slice's hierarchical file only.
    touch(tree.path(), SLICE, "memory.events");
    touch(tree.path(), "a.slice/c.service", "memory.events");
    assert_quiet(&mut events).await;
}

#[tokio::test]
async fn a_slices_limit_applies_to_all_that_are_watched() {
    let tree = tree();
    let mut events = LimitEvents::new(tree.path()).unwrap();
    events
        .watch(["/a.slice/b.service", "/a.slice/c.service"])
        .unwrap();
    touch(tree.path(), SLICE, "memory.events.local");
    assert_eq!(
        hit(&mut events).await,
        ["/a.slice/b.service", "/a.slice/c.service"]
    );
}

#[tokio::test]
async fn what_is_no_longer_asked_for_is_no_longer_watched() {
    let tree = tree();
    let mut events = LimitEvents::new(tree.path()).unwrap();
    events.watch(["/a.slice/b.service"]).unwrap();
    events.watch([]).unwrap();
    touch(tree.path(), UNIT, "memory.events");
    assert_quiet(&mut events).await;
}

#[tokio::test]
async fn a_cgroup_that_is_gone_or_made_anew() {
    let tree = tree();
    let mut events = LimitEvents::new(tree.path()).unwrap();
    events.watch(["/a.slice/b.service"]).unwrap();
    fs::remove_dir_all(tree.path().join(UNIT)).unwrap();
    events.watch(["/a.slice/b.service"]).unwrap();
    fs::create_dir_all(tree.path().join(UNIT)).unwrap();
    touch(tree.path(), UNIT, "memory.events");
    events.watch(["/a.slice/b.service"]).unwrap();
    while !events.read().unwrap().is_empty() {}
    touch(tree.path(), UNIT, "memory.events");
    assert_eq!(hit(&mut events).await, ["/a.slice/b.service"]);
}
