#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

fn make(root: &Path, path: &str, files: &[(&str, &str)]) {
    let dir = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("cgroup.procs"), "").unwrap();
    for (file, text) in files {
        fs::write(dir.join(file), text).unwrap();
    }
}

fn memory(root: &Path, path: &str, max: &str) {
    let files = [
        ("memory.high", "max\n"),
        ("memory.current", "4096\n"),
        ("memory.swap.max", "max\n"),
    ];
    make(root, path, &files);
    make(
        root,
        path,
        &[("memory.max", max), ("memory.swap.current", "8192\n")],
    );
}

fn paths(levels: &[RawLevel]) -> Vec<&str> {
    levels.iter().map(|level| level.path.as_str()).collect()
}

#[test]
fn a_chain_is_innermost_first_and_excludes_the_root() {
    let tree = tempfile::tempdir().unwrap();
    memory(tree.path(), "/a.slice", "1048576\n");
    memory(tree.path(), "/a.slice/b.service", "max\n");
    let root = CgroupRoot::open(tree.path()).unwrap();
    let chain = root.chain("/a.slice/b.service").unwrap();
    assert_eq!(paths(&chain), ["/a.slice/b.service", "/a.slice"]);
    assert_eq!(chain[0].max.as_str(), "max\n");
    assert_eq!(chain[1].max.as_str(), "1048576\n");
    assert_eq!(chain[0].current.as_str(), "4096\n");
    assert_eq!(chain[0].swap.unwrap().1.as_str(), "8192\n");
    assert_eq!(root.chain("/").unwrap().len(), 0);
}

#[test]
fn a_missing_cgroup_is_gone_and_a_missing_controller_is_not() {
    let tree = tempfile::tempdir().unwrap();
    make(tree.path(), "/plain", &[]);
    let root = CgroupRoot::open(tree.path()).unwrap();
    assert!(matches!(root.chain("/nothing"), Err(CgroupReadError::Gone { path }) if path == "/nothing"));
    assert!(matches!(
        root.chain("/plain"),
        Err(CgroupReadError::Io {
            file: "memory.max",
            ..
        })
    ));
    let open = root.cgroup("/plain").unwrap();
    fs::remove_dir_all(tree.path().join("plain")).unwrap();
    assert!(matches!(open.level(), Err(CgroupReadError::Gone { .. })));
    assert!(matches!(
        open.optional::<512>("memory.pressure"),
        Err(CgroupReadError::Gone { .. })
    ));
}

#[test]
fn what_the_kernel_does_not_account_is_absent() {
    let tree = tempfile::tempdir().unwrap();
    memory(tree.path(), "/u", "max\n");
    fs::remove_file(tree.path().join("u/memory.swap.max")).unwrap();
    let dir = CgroupRoot::open(tree.path()).unwrap().cgroup("/u").unwrap();
    assert!(dir.level().unwrap().swap.is_none());
    assert!(dir.optional::<512>("memory.pressure").unwrap().is_none());
    fs::write(tree.path().join("u/memory.pressure"), "some total=5\n").unwrap();
    assert_eq!(
        dir.optional::<512>("memory.pressure").unwrap().unwrap().as_str(),
        "some total=5\n"
    );
    assert_eq!(
        dir.inode().unwrap(),
        fs::metadata(tree.path().join("u")).unwrap().ino()
    );
}

#[test]
fn cgroups_below_are_found_at_any_depth_within_the_budget() {
    let tree = tempfile::tempdir().unwrap();
    memory(tree.path(), "/u", "max\n");
    make(tree.path(), "/u/plain", &[]);
    memory(tree.path(), "/u/x", "max\n");
    memory(tree.path(), "/u/x/y", "4096\n");
    let root = CgroupRoot::open(tree.path()).unwrap();
    let (found, complete) = root.below("/u", 64).unwrap();
    assert_eq!(paths(&found), ["/u/x", "/u/x/y"]);
    assert!(complete);
    assert!(!root.below("/u", 2).unwrap().1);
    assert!(root.below("/u/x/y", 0).unwrap().1);
}

#[test]
fn text_that_is_no_number_is_no_number_when_cut() {
    let tree = tempfile::tempdir().unwrap();
    make(tree.path(), "/u", &[("long", &"1".repeat(100)), ("binary", "x")]);
    fs::write(tree.path().join("u/binary"), [0xff, 0xfe]).unwrap();
    let dir = CgroupRoot::open(tree.path()).unwrap().cgroup("/u").unwrap();
    // 32 digits overflow every integer type that a decoder uses.
    assert_eq!(dir.text::<32>("long").unwrap().as_str(), "1".repeat(32));
    assert_eq!(dir.text::<32>("binary").unwrap().as_str(), "");
}
