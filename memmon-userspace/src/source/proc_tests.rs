use super::*;

#[test]
fn files_are_read_below_the_given_root_and_errors_name_them() {
    let root = tempfile::tempdir().expect("temporary directory");
    fs::create_dir_all(root.path().join("sys/vm")).expect("mkdir");
    fs::write(root.path().join("meminfo"), "MemTotal: 1 kB\n").expect("write");
    let proc = Proc::at(root.path());
    assert_eq!(proc.meminfo().expect("there"), "MemTotal: 1 kB\n");
    let error = proc.vmstat().expect_err("not there");
    assert_eq!(error.path, root.path().join("vmstat"));
    assert!(error.to_string().starts_with("reading "), "{error}");
    proc.refresh_vmstat().expect("writable");
    assert_eq!(
        fs::read_to_string(root.path().join("sys/vm/stat_refresh")).expect("written"),
        "1"
    );
}

#[test]
fn the_wall_clock_is_the_monotonic_clock_plus_the_offset() {
    let offset = wall_clock_offset_ns();
    let wall = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let difference = i128::from(monotonic_ns()) + offset - i128::try_from(wall.as_nanos()).expect("fits");
    assert!(difference.abs() < 1_000_000_000, "{difference} ns apart");
}
