use std::{fs, path::Path};

use super::{Cgroup, Level, MIB, limits, parse, refusal, reserve};

fn level() -> Level {
    Level {
        name: "memory.max of /a".to_owned(),
        limit: 100 * MIB,
        current: 95 * MIB,
        inactive_file: 0,
        unevictable: 0,
    }
}

#[test]
fn room_below_a_limit() {
    assert_eq!(refusal(&[], 1 << 40, 1 << 40), None);
    assert_eq!(
        refusal(&[level()], 10 * MIB, 0),
        None,
        "in RAM already, and far from filling the limit"
    );
    let why = refusal(&[level()], 10 * MIB, 10 * MIB).unwrap_or_default();
    assert!(
        why.contains("memory.max of /a (100 MiB) leaves only 5 MiB"),
        "{why}"
    );
    let cached = Level {
        inactive_file: 20 * MIB,
        ..level()
    };
    assert_eq!(
        refusal(&[cached], 10 * MIB, 10 * MIB),
        None,
        "page cache goes first"
    );
    let locked = Level {
        unevictable: 80 * MIB,
        ..level()
    };
    let why = refusal(&[level(), locked], 10 * MIB, 0).unwrap_or_default();
    assert!(why.contains("less than 16 MiB of memory.max"), "{why}");
    let full = Level {
        current: 120 * MIB,
        ..level()
    };
    assert!(refusal(&[full], MIB, MIB).is_some_and(|why| why.contains("only 0 B")));
    assert_eq!(reserve(8 * MIB), 4 * MIB, "half of a small limit stays free");
    assert_eq!(reserve(1000 * MIB), 50 * MIB);
}

#[test]
fn limits_of_all_ancestors() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("below dir")).expect("directories");
        fs::write(path, text).expect("a file");
    };
    write("a.slice/memory.max", format!("{}\n", 300 * MIB));
    write("a.slice/memory.high", "max\n".to_owned());
    write("a.slice/memory.current", format!("{}\n", 250 * MIB));
    write(
        "a.slice/memory.stat",
        format!("anon 1\ninactive_file {}\nunevictable 4096\n", 7 * MIB),
    );
    write("a.slice/b.service/memory.max", "max\n".to_owned());
    write("a.slice/b.service/memory.high", format!("{}\n", 200 * MIB));
    write("a.slice/b.service/memory.current", format!("{}\n", 100 * MIB));
    let cgroup = Cgroup {
        mount: dir.path().to_owned(),
        directory: dir.path().join("a.slice/b.service"),
        v2: true,
    };
    assert_eq!(
        limits(&cgroup, MIB),
        [],
        "all of it fits, nothing more needs to be read"
    );
    let outer = Level {
        name: "memory.max of /a.slice".to_owned(),
        limit: 300 * MIB,
        current: 250 * MIB,
        inactive_file: 7 * MIB,
        unevictable: 4096,
    };
    assert_eq!(limits(&cgroup, 60 * MIB), [outer]);
    let names: Vec<String> = limits(&cgroup, 99 * MIB)
        .into_iter()
        .map(|level| level.name)
        .collect();
    assert_eq!(
        names,
        ["memory.high of /a.slice/b.service", "memory.max of /a.slice"]
    );
}

#[test]
fn finds_its_cgroup() {
    let v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    let v1 = "35 32 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
              36 32 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    let container = "30 23 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    let found = |cgroups: &str, mounts: &str| {
        parse(cgroups, mounts).map(|cgroup| (cgroup.directory.display().to_string(), cgroup.v2))
    };
    let expect = |path: &str, v2| Some((path.to_owned(), v2));
    assert_eq!(
        found("0::/a.slice/b.service\n", v2),
        expect("/sys/fs/cgroup/a.slice/b.service", true)
    );
    let hybrid = "9:name=systemd:/x\n4:memory:/m\n0::/x\n";
    assert_eq!(
        found(hybrid, &format!("{v1}{v2}")),
        expect("/sys/fs/cgroup/memory/m", false)
    );
    assert_eq!(
        found("0::/docker/1/sub\n", container),
        expect("/sys/fs/cgroup/sub", true)
    );
    assert_eq!(found("0::/docker/1\n", container), expect("/sys/fs/cgroup", true));
    assert_eq!(found("0::/docker/12\n", container), None);
    assert_eq!(found("0::/../other\n", v2), None);
    assert_eq!(found("", v2), None);
    assert!(super::own().is_none_or(|own| own.directory.starts_with(Path::new("/sys/fs/cgroup"))));
}
