use std::fs;

use super::*;

fn tree() -> (tempfile::TempDir, Places) {
    let dir = tempfile::tempdir().expect("a directory");
    let proc = dir.path().join("proc");
    fs::create_dir_all(proc.join("pressure")).expect("made");
    let meminfo =
        "MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 300 kB\nSwapFree: 100 kB\nZswapped: 50 kB\n";
    fs::write(proc.join("meminfo"), meminfo).expect("written");
    let swaps =
        "Filename Type Size Used Priority\n/dev/zram0 partition 100 60 5\n/dev/vdb partition 200 140 1\n";
    fs::write(proc.join("swaps"), swaps).expect("written");
    fs::write(dir.path().join("zswap"), "Y\n").expect("written");
    let cgroups = dir.path().join("cgroup");
    for (path, current, low) in [
        ("a.slice", 900, 7),
        ("a.slice/x.service", 600, 5),
        ("a.slice/half.service", 1, 1),
    ] {
        let cgroup = cgroups.join(path);
        fs::create_dir_all(&cgroup).expect("made");
        let files = [
            ("cgroup.procs", String::new()),
            ("memory.current", current.to_string()),
            ("memory.max", "max\n".into()),
            ("memory.high", "800\n".into()),
            ("memory.low", low.to_string()),
            ("memory.min", "0".into()),
            ("memory.swap.max", "max".into()),
            ("memory.swap.current", "3".into()),
            ("memory.zswap.max", "max".into()),
            ("memory.zswap.current", "4096".into()),
            (
                "memory.stat",
                "inactive_anon 1\nactive_anon 2\ninactive_file 10\nactive_file 20\nfile_dirty 5\n".into(),
            ),
        ];
        for (name, text) in files {
            fs::write(cgroup.join(name), text).expect("written");
        }
    }
    fs::remove_file(cgroups.join("a.slice/half.service/memory.max")).expect("removed");
    let places = Places {
        proc: Proc::at(&proc),
        cgroups: Some(cgroups),
        zswap: dir.path().join("zswap"),
    };
    (dir, places)
}

fn planned(cgroup: &str, priority: Priority) -> Planned {
    let unit = cgroup.rsplit('/').next().unwrap_or_default().to_owned();
    Planned {
        unit,
        priority,
        cgroup: cgroup.to_owned(),
        tagged: false,
        theirs: None,
        last_critical: Some(MonoTime(9)),
    }
}

#[test]
fn a_host_is_read_with_all_ancestors() {
    let (_dir, places) = tree();
    let plan = Plan {
        units: vec![
            planned("/a.slice/x.service", Priority::Critical),
            planned("/a.slice/half.service", Priority::Low),
            planned("/a.slice/gone.service", Priority::Low),
        ],
        own_unit: Some("memmon.service".into()),
        ..Plan::default()
    };
    let snapshot = survey(&places, &plan).expect("it is read");
    assert_eq!(snapshot.host.total, 1000 * 1024);
    assert_eq!(snapshot.swap.zram_used, 60 * 1024);
    assert_eq!(snapshot.swap.disk_used(), 90 * 1024);
    assert_eq!(snapshot.psi, None);
    let units: Vec<&str> = snapshot.units.iter().map(|unit| unit.unit.as_str()).collect();
    assert_eq!(
        units,
        ["x.service"],
        "one that is gone, or cannot be read whole, is left out"
    );
    assert_eq!(
        (
            snapshot.units[0].anon,
            snapshot.units[0].cache,
            snapshot.units[0].idle_cache
        ),
        (3, 25, 10)
    );
    assert!(snapshot.units[0].below_complete);
    assert_eq!(snapshot.units[0].last_critical, Some(MonoTime(9)));
    let slice = &snapshot.cgroups["/a.slice"];
    assert_eq!(
        (slice.current, slice.low, slice.high),
        (900, Limit::Bytes(7), Limit::Bytes(800))
    );
    assert_eq!(snapshot.cgroups.len(), 2);
    assert_eq!(snapshot.own_unit.as_deref(), Some("memmon.service"));
}

#[test]
fn what_zswap_may_keep_is_the_least_up_to_the_root() {
    let (_dir, places) = tree();
    let room = || {
        let plan = Plan {
            units: vec![planned("/a.slice/x.service", Priority::Low)],
            ..Plan::default()
        };
        survey(&places, &plan).expect("it is read").units[0].zswap_room
    };
    let limit = |cgroup: &str, limit: &str| {
        let cgroups = places.cgroups.as_ref().expect("there are some");
        fs::write(cgroups.join(cgroup).join("memory.zswap.max"), limit).expect("written");
    };
    assert_eq!(room(), None);
    limit("a.slice/x.service", "12288");
    assert_eq!(room(), Some(8192));
    limit("a.slice", "0");
    assert_eq!(room(), Some(0));
    fs::write(&places.zswap, "N\n").expect("written");
    assert_eq!(room(), None, "zswap is off");
}

#[test]
fn zswap_that_is_off_stores_nothing() {
    let (_dir, places) = tree();
    fs::write(&places.zswap, "N\n").expect("written");
    let snapshot = survey(&places, &Plan::default()).expect("it is read");
    assert_eq!(snapshot.swap.zswap_stored, None);
    assert_eq!(snapshot.swap.disk_used(), 140 * 1024);
}

#[test]
fn cgroup_v1_has_a_host_and_no_units() {
    let (_dir, places) = tree();
    let places = Places {
        cgroups: None,
        ..places
    };
    let plan = Plan {
        units: vec![planned("/a.slice/x.service", Priority::Low)],
        ..Plan::default()
    };
    let snapshot = survey(&places, &plan).expect("it is read");
    assert_eq!(snapshot.units, []);
    assert!(snapshot.host.total > 0);
}
