use proptest::prelude::*;

use super::*;

#[test]
fn infinity_and_zero_are_both_legal_and_different() {
    assert_eq!(to_property(Limit::Max), u64::MAX);
    assert_eq!(to_property(Limit::Bytes(0)), 0);
    assert_eq!(from_property(u64::MAX), Limit::Max);
    assert_eq!(from_property(0), Limit::Bytes(0));
}

#[test]
fn drop_ins_are_where_systemd_puts_them() {
    assert_eq!(
        drop_in_path("omnimind.service", Property::MemorySwapMax, false),
        "/run/systemd/system.control/omnimind.service.d/50-MemorySwapMax.conf"
    );
    // Each instance is a unit of its own, and escapes stay as they are in the name.
    assert_eq!(
        drop_in_path("job@a\\x2db.service", Property::MemoryHigh, false),
        "/run/systemd/system.control/job@a\\x2db.service.d/50-MemoryHigh.conf"
    );
    assert_eq!(
        drop_in_path("run-u1.service", Property::MemorySwapMax, true),
        "/run/systemd/transient/run-u1.service.d/50-MemorySwapMax.conf"
    );
}

#[test]
fn our_drop_in_is_told_from_an_operators() {
    let written = "# This is a drop-in unit file extension, created via \"systemctl set-property\"\n# or an equivalent operation. Do not edit.\n[Service]\nMemorySwapMax=0\n";
    let says = |content: &str, value| drop_in_says(content, Property::MemorySwapMax, value);
    assert!(says(written, Limit::Bytes(0)));
    assert!(!says(written, Limit::Max));
    assert!(!drop_in_says(written, Property::MemoryHigh, Limit::Bytes(0)));
    assert!(says("[Slice]\nMemorySwapMax=infinity\n", Limit::Max));
    assert!(!says("[Service]\nMemorySwapMax=1073741824\n", Limit::Bytes(0)));
    assert!(!says(
        "[Service]\nMemorySwapMax=0\nMemoryHigh=1G\n",
        Limit::Bytes(0)
    ));
    assert!(!says("", Limit::Bytes(0)));
}

#[test]
fn what_is_read_after_ours_is_named() {
    let ours = "/run/systemd/system.control/u.service.d/50-MemorySwapMax.conf";
    let paths: Vec<String> = [
        "/etc/systemd/system/u.service.d/10-early.conf",
        "/etc/systemd/system/u.service.d/50-MemoryMax.conf",
        ours,
        "/etc/systemd/system.control/u.service.d/50-MemorySwapMax.conf",
        "/run/systemd/system/service.d/60-late.conf",
        "/etc/systemd/system/u.service.d/override.conf",
    ]
    .map(Into::into)
    .to_vec();
    assert_eq!(
        later_drop_ins(&paths, Property::MemorySwapMax, ours),
        [&paths[3], &paths[4], &paths[5]]
    );
}

#[test]
fn only_a_units_own_directory_is_a_units_directory() {
    for (path, unit, expected) in [
        ("/system.slice/a.service", "a.service", true),
        ("/a.service", "a.service", true),
        (
            "/system.slice/system-job.slice/job@1.service",
            "job@1.service",
            true,
        ),
        ("/ai.slice", "ai.slice", true),
        (
            "/user.slice/user-1000.slice/user@1000.service",
            "user@1000.service",
            true,
        ),
        ("/system.slice/_a.service", "a.service", true),
        ("/system.slice/_memory.service", "memory.service", true),
        ("/system.slice/a.service", "b.service", false),
        ("/system.slice/a.service/b.service", "b.service", false),
        ("/machine.slice/c.scope/payload/a.service", "a.service", false),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
            "a.service",
            false,
        ),
        ("/x/a.service", "a.service", false),
        ("/../a.service", "a.service", false),
        ("", "", false),
    ] {
        assert_eq!(is_unit_directory(path, unit), expected, "{path} {unit}");
    }
}

#[test]
fn unit_names() {
    for name in [
        "a.service",
        "a-b_c:d.slice",
        "job@x\\x2dy.service",
        "init.scope",
        "dev-sda1.swap",
        "-.slice",
    ] {
        assert!(is_unit_name(name), "{name}");
    }
    let long = format!("{}.service", "a".repeat(260));
    for name in [
        "",
        "a",
        ".service",
        "a.",
        "../a.service",
        "a/b.service",
        "@x.service",
        "a b.service",
        "a.Service",
        &long,
    ] {
        assert!(!is_unit_name(name), "{name}");
    }
}

fn properties(set: &[(&str, Limit)]) -> BTreeMap<String, Limit> {
    let mut all: BTreeMap<String, Limit> = MEMORY_SETTINGS
        .iter()
        .map(|(name, _)| ((*name).to_owned(), Limit::Max))
        .collect();
    all.insert("MemoryMin".into(), Limit::Bytes(0));
    all.insert("MemoryLow".into(), Limit::Bytes(0));
    all.extend(set.iter().map(|(name, limit)| ((*name).to_owned(), *limit)));
    all
}

fn files(set: &[(&'static str, Limit)]) -> BTreeMap<&'static str, Limit> {
    let mut all: BTreeMap<_, _> = MEMORY_SETTINGS
        .iter()
        .map(|(_, file)| (*file, Limit::Max))
        .collect();
    all.insert("memory.min", Limit::Bytes(0));
    all.insert("memory.low", Limit::Bytes(0));
    all.extend(set.iter().copied());
    all
}

#[test]
fn it_is_safe_when_everything_agrees() {
    assert_eq!(unsafe_to_set(&properties(&[]), None, &files(&[]), 4096), None);
    // The kernel rounds down to pages.
    let set = properties(&[("MemoryMax", Limit::Bytes(1_000_001))]);
    assert_eq!(
        unsafe_to_set(
            &set,
            Some(Limit::Max),
            &files(&[("memory.max", Limit::Bytes(999_424))]),
            4096
        ),
        None
    );
    // A systemd without MemoryZSwapMax, a kernel without memory.zswap.max.
    let mut older = properties(&[]);
    older.remove("MemoryZSwapMax");
    let mut without = files(&[]);
    without.remove("memory.zswap.max");
    assert_eq!(unsafe_to_set(&older, None, &without, 4096), None);
}

#[test]
fn any_difference_makes_it_unsafe() {
    for (name, file) in MEMORY_SETTINGS {
        let why = unsafe_to_set(
            &properties(&[]),
            None,
            &files(&[(file, Limit::Bytes(4096 * 5))]),
            4096,
        );
        let why = why.unwrap_or_default();
        assert!(
            why.contains(file) && why.contains(name) && why.contains("20480"),
            "{why}"
        );
    }
}

#[test]
fn memory_limit_alone_makes_it_unsafe() {
    let limit = Some(Limit::Bytes(1 << 30));
    let file = files(&[("memory.max", Limit::Bytes(1 << 30))]);
    let why = unsafe_to_set(&properties(&[]), limit, &file, 4096).unwrap_or_default();
    assert!(why.contains("MemoryLimit="), "{why}");
    // With MemoryMax= beside it, systemd ignores MemoryLimit= anyway.
    let both = properties(&[("MemoryMax", Limit::Bytes(1 << 30))]);
    assert_eq!(unsafe_to_set(&both, limit, &file, 4096), None);
}

proptest! {
    #[test]
    fn limits_survive_the_way_through_the_property(bytes in any::<u64>()) {
        prop_assert_eq!(to_property(from_property(bytes)), bytes);
    }

    /// A name that passes cannot leave the directory that it is put in.
    #[test]
    fn a_valid_name_is_one_path_component(name in "[a-z./@:_\\\\-]{1,20}") {
        if is_unit_name(&name) {
            prop_assert!(!name.contains('/') && name != "." && name != "..");
            let path = drop_in_path(&name, Property::MemoryHigh, false);
            prop_assert_eq!(path.matches('/').count(), 5);
        }
    }
}

#[test]
fn switches_count_as_well() {
    let set = |policy: u64| properties(&[("OOMPolicy", Limit::Bytes(policy))]);
    let file = |group: u64| files(&[("memory.oom.group", Limit::Bytes(group))]);
    assert_eq!(unsafe_to_set(&set(1), None, &file(1), 4096), None);
    let why = unsafe_to_set(&set(0), None, &file(1), 4096).unwrap_or_default();
    assert!(why.contains("memory.oom.group is 1"), "{why}");
    // A slice has no OOMPolicy.
    assert_eq!(unsafe_to_set(&properties(&[]), None, &file(0), 4096), None);
}

#[test]
fn writing_memory_high_again_while_above_it_would_reclaim_in_pid_1() {
    let with = |current| {
        files(&[
            ("memory.high", Limit::Bytes(8192)),
            ("memory.current", Limit::Bytes(current)),
        ])
    };
    assert_eq!(would_reclaim(&with(8192)), None);
    let why = would_reclaim(&with(12288)).unwrap_or_default();
    assert!(why.contains("systemd would reclaim"), "{why}");
}
