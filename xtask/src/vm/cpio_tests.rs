#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command};

use super::*;

/// The reference is the cpio program itself: what it unpacks must be what went in.
#[test]
fn cpio_unpacks_what_was_packed() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Archive::default();
    archive.directory("bin");
    archive.file("bin/odd", 0o755, b"12345");
    archive.file("empty", 0o644, b"");
    let path = dir.path().join("a.cpio");
    fs::write(&path, archive.finish()).unwrap();
    let Ok(unpacked) = Command::new("cpio")
        .args(["-i", "--quiet", "-F"])
        .arg(&path)
        .current_dir(dir.path())
        .status()
    else {
        eprintln!("skipped: no cpio here (cargo xtask setup installs it)");
        return;
    };
    assert!(unpacked.success());
    assert_eq!(fs::read(dir.path().join("bin/odd")).unwrap(), b"12345");
    assert_eq!(fs::read(dir.path().join("empty")).unwrap(), b"");
}
