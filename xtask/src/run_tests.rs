#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use tempfile::TempDir;

use super::*;

fn host(uid: &str, pid1: &str, controllers: Option<&str>) -> TempDir {
    let root = TempDir::new().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "proc/self/status",
        &format!("Name:\txtask\nUid:\t1000\t{uid}\t0\t0\n"),
    );
    write("proc/1/comm", pid1);
    if let Some(controllers) = controllers {
        write("sys/fs/cgroup/cgroup.controllers", controllers);
    }
    root
}

#[test]
fn a_host_is_fit_with_root_systemd_and_cgroup_v2() {
    let fit = host("0", "systemd\n", Some("cpuset cpu io memory pids\n"));
    assert_eq!(unfit(fit.path()).unwrap(), None);
}

#[test]
fn what_is_missing_is_said() {
    for (host, words) in [
        (host("1000", "systemd\n", Some("memory")), "not root"),
        (host("0", "init\n", Some("memory")), "init, not systemd"),
        (host("0", "systemd\n", Some("cpu hugetlb\n")), "cgroup v2"),
        (host("0", "systemd\n", None), "cgroup v2"),
    ] {
        let why = unfit(host.path()).unwrap().unwrap();
        assert!(why.contains(words), "{why}");
    }
}
