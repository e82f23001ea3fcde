use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A host with nothing but the files that discovery reads.
struct FakeHost(tempfile::TempDir);

impl FakeHost {
    fn new(mountinfo: &str, cgroups: &str) -> Self {
        let host = Self(tempfile::tempdir().expect("temporary directory"));
        host.write("proc/self/mountinfo", mountinfo);
        host.write("proc/cgroups", cgroups);
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("making directories");
        fs::write(path, text).expect("writing");
    }

    fn mkdir(&self, path: &str) -> u64 {
        let path = self.0.path().join(path);
        fs::create_dir_all(&path).expect("making directories");
        fs::metadata(&path).expect("stat").ino()
    }

    fn discover(&self) -> Result<CgroupTree, CgroupTreeError> {
        CgroupTree::discover(self.0.path())
    }
}

const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V2_CGROUPS: &str =
    "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t70\t1\nmemory\t0\t70\t1\n";

fn v2_host() -> FakeHost {
    let host = FakeHost::new(V2, V2_CGROUPS);
    host.write("sys/fs/cgroup/cgroup.controllers", "cpu io memory\n");
    host
}

#[test]
fn a_unified_host_is_walked_with_ids_and_paths() {
    let host = v2_host();
    let service = host.mkdir("sys/fs/cgroup/system.slice/a.service");
    let nested = host.mkdir("sys/fs/cgroup/system.slice/a.service/in side");
    let tree = host.discover().expect("a tree");
    assert_eq!((tree.hierarchy, tree.is_v1()), (0, false));
    assert_eq!(
        tree.dir("/system.slice"),
        host.0.path().join("sys/fs/cgroup/system.slice")
    );
    assert!(
        !tree.shows_everything(),
        "a directory of a disk file system is not the root of a hierarchy"
    );

    let scan = tree.scan().expect("a scan");
    assert!(scan.complete);
    let find = |path: &str| scan.cgroups.iter().find(|c| c.path == path).map(|c| c.id);
    assert_eq!(scan.cgroups.len(), 4, "{scan:?}");
    assert_eq!(find("/"), Some(host.mkdir("sys/fs/cgroup")));
    assert_eq!(find("/system.slice/a.service"), Some(service));
    assert_eq!(find("/system.slice/a.service/in side"), Some(nested));
}

#[test]
fn the_v1_hierarchy_with_memory_is_preferred_when_memory_is_bound_to_it() {
    let host = FakeHost::new(
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t11\t1\n",
    );
    host.write("sys/fs/cgroup/unified/cgroup.controllers", "\n");
    let tree = host.discover().expect("a tree");
    assert_eq!((tree.hierarchy, tree.is_v1()), (4, true));
    assert_eq!(tree.mount, host.0.path().join("sys/fs/cgroup/memory"));
}

#[test]
fn a_whole_mount_is_preferred_and_a_part_keeps_its_prefix() {
    let part = "50 23 0:26 /docker/ab /part rw - cgroup2 cgroup2 rw\n";
    let host = FakeHost::new(&format!("{part}{V2}"), "");
    host.write("sys/fs/cgroup/cgroup.controllers", "memory\n");
    host.write("part/cgroup.controllers", "memory\n");
    assert_eq!(
        host.discover().expect("a tree").mount,
        host.0.path().join("sys/fs/cgroup")
    );

    let host = FakeHost::new(part, "");
    host.write("part/cgroup.controllers", "memory\n");
    host.mkdir("part/inner");
    let tree = host.discover().expect("a tree");
    let mut paths: Vec<_> = tree
        .scan()
        .expect("a scan")
        .cgroups
        .into_iter()
        .map(|c| c.path)
        .collect();
    paths.sort();
    assert_eq!(paths, ["/docker/ab", "/docker/ab/inner"]);
    assert_eq!(tree.dir("/docker/ab/inner"), host.0.path().join("part/inner"));
}

#[test]
fn a_host_without_the_controller_says_why() {
    let off = FakeHost::new(V2, "memory\t0\t1\t0\n");
    assert!(matches!(off.discover(), Err(CgroupTreeError::Disabled)));
    let elsewhere = FakeHost::new(V2, V2_CGROUPS);
    elsewhere.write("sys/fs/cgroup/cgroup.controllers", "cpu\n");
    assert!(matches!(elsewhere.discover(), Err(CgroupTreeError::NotMounted)));
    let empty = tempfile::tempdir().expect("temporary directory");
    let error = CgroupTree::discover(empty.path())
        .expect_err("nothing there")
        .to_string();
    assert!(error.contains("proc/self/mountinfo"), "{error}");
}

#[test]
fn cgroups_that_vanish_leave_the_scan_complete() {
    let host = v2_host();
    host.mkdir("sys/fs/cgroup/a.slice");
    let tree = host.discover().expect("a tree");
    let root = open(&tree.mount, OFlags::DIRECTORY, Mode::empty()).expect("open");
    let gone = tree.visit(&root, b"gone.slice", &mut Vec::new());
    assert_eq!(gone, Err(Errno::NOENT));
    // A file or a link where a cgroup was is trouble, not a cgroup that has gone.
    std::os::unix::fs::symlink(host.0.path(), tree.mount.join("link")).expect("symlink");
    assert!(tree.visit(&root, b"link", &mut Vec::new()).is_err());
    let scan = tree.scan().expect("a scan");
    assert_eq!(
        (scan.cgroups.len(), scan.complete),
        (2, true),
        "links are not followed"
    );
}

#[test]
fn what_stays_is_found_while_others_come_and_go() {
    let host = v2_host();
    for slice in 0..20 {
        for unit in 0..10 {
            host.mkdir(&format!("sys/fs/cgroup/s{slice}.slice/u{unit}.service"));
        }
    }
    let tree = host.discover().expect("a tree");
    let churned = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200 {
                let dir = tree
                    .mount
                    .join(format!("s{}.slice/run-{round}.service", round % 20));
                fs::create_dir_all(dir.join("inner")).expect("mkdir");
                fs::remove_dir_all(&dir).expect("rmdir");
                churned.store(round + 1, Ordering::Relaxed);
            }
        });
        let mut during = 0;
        while churned.load(Ordering::Relaxed) < 200 {
            let scan = tree.scan().expect("a scan");
            let stable = scan.cgroups.iter().filter(|c| c.path.contains("/u")).count();
            assert_eq!((stable, scan.complete), (200, true));
            during += 1;
        }
        assert!(during > 0, "nothing was scanned meanwhile");
    });
}

/// This very host: the ids must be those the kernel uses.
#[test]
fn the_running_host_is_scanned_or_says_why_not() {
    let tree = match CgroupTree::discover(Path::new("/")) {
        Ok(tree) => tree,
        Err(e) => {
            println!("SKIP the_running_host_is_scanned: {e}");
            return;
        }
    };
    let scan = tree.scan().expect("a scan");
    assert!(!scan.cgroups.is_empty());
    for cgroup in scan.cgroups.iter().take(50) {
        if let Ok(meta) = fs::metadata(tree.dir(&cgroup.path)) {
            assert_eq!(meta.ino(), cgroup.id, "{}", cgroup.path);
        }
    }
    if tree.shows_everything() {
        assert!(scan.cgroups.iter().any(|c| c.id == ROOT_ID && c.path == "/"));
    }
}
