#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anyhow::bail;

use super::*;

fn entry(dir: &Path) -> Entry {
    Entry {
        path: dir.join("roots").join("trixie-1"),
    }
}

#[test]
fn an_entry_appears_whole_and_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let entry = entry(dir.path());
    assert_eq!(entry.version(), None);
    let write = |text: &'static str| move |dir: &Path| Ok(fs::write(dir.join("image"), text)?);
    entry.make("1", write("first")).unwrap();
    assert_eq!(entry.version().as_deref(), Some("1"));
    entry.make("2", write("second")).unwrap();
    assert_eq!(entry.version().as_deref(), Some("2"));
    assert_eq!(fs::read_to_string(entry.file("image")).unwrap(), "second");
    assert_eq!(fs::read_dir(dir.path().join("roots")).unwrap().count(), 1);
}

#[test]
fn a_failure_keeps_what_was_there_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let entry = entry(dir.path());
    entry.make("1", |_| Ok(())).unwrap();
    let failed = entry.make("2", |new| {
        fs::write(new.join("image"), "half")?;
        bail!("the mirror is gone")
    });
    assert_eq!(failed.unwrap_err().to_string(), "the mirror is gone");
    assert_eq!(entry.version().as_deref(), Some("1"));
    assert_eq!(fs::read_dir(dir.path().join("roots")).unwrap().count(), 1);
}

#[test]
fn what_an_interrupted_run_left_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let entry = entry(dir.path());
    for left in ["new", "old"] {
        fs::create_dir_all(entry.path.with_added_extension(left)).unwrap();
    }
    entry.make("1", |_| Ok(())).unwrap();
    assert_eq!(entry.version().as_deref(), Some("1"));
}

#[test]
fn unused_images_are_removed_and_used_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let old = Entry {
        path: dir.path().join("roots").join("trixie-0"),
    };
    old.make("1", |_| Ok(())).unwrap();
    let stamp = File::options().append(true).open(old.file(STAMP)).unwrap();
    stamp
        .set_modified(SystemTime::now() - UNUSED - Duration::from_secs(60))
        .unwrap();
    let used = entry(dir.path());
    used.make("1", |_| Ok(())).unwrap();
    used.make("2", |_| Ok(())).unwrap();
    assert_eq!(old.version(), None);
    assert_eq!(used.version().as_deref(), Some("2"));
}
