//! What is shipped beside the program agrees with the program.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::PathBuf, process::Command};

use clap::Parser as _;
use memmon::cli::{Cli, ExitCode, privilege};
use tempfile::TempDir;

fn packaged(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The values of `key` in the unit file, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let prefix = format!("{key}=");
    unit.lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
        .collect()
}

#[test]
fn systemd_accepts_the_unit() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("memmon.service");
    // verify insists on programs that exist.
    fs::write(
        &path,
        packaged("memmon.service").replace("/usr/bin/memmon", "/bin/true"),
    )
    .unwrap();
    let Ok(output) = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
    else {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    // Only lines about our unit: verify also complains about whatever else is installed.
    let ours: Vec<_> = text.lines().filter(|line| line.contains("memmon")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn the_unit_runs_commands_that_exist() {
    let unit = packaged("memmon.service");
    let commands = [values(&unit, "ExecStart"), values(&unit, "ExecReload")].concat();
    let ours: Vec<_> = commands
        .iter()
        .filter(|line| line.starts_with("/usr/bin/memmon "))
        .collect();
    assert_eq!(ours.len(), 2, "{commands:?}");
    for line in ours {
        Cli::try_parse_from(line.split_whitespace()).expect(line);
    }
}

/// What the agent needs only where nobody does for it what the unit does.
const DONE_BY_THE_UNIT: [(&str, &str, &str); 2] = [
    ("CAP_SYS_RESOURCE", "OOMScoreAdjust", "-900"),
    ("CAP_IPC_LOCK", "LimitMEMLOCK", "infinity"),
];

#[test]
fn the_unit_grants_every_capability_that_the_program_uses() {
    let unit = packaged("memmon.service");
    let granted = values(&unit, "CapabilityBoundingSet").concat();
    let mut granted: Vec<_> = granted.split_whitespace().collect();
    for (capability, key, value) in DONE_BY_THE_UNIT {
        assert_eq!(values(&unit, key), [value]);
        granted.push(capability);
    }
    let mut used: Vec<_> = privilege::ALL.iter().map(|capability| capability.name).collect();
    granted.sort_unstable();
    used.sort_unstable();
    assert_eq!(granted, used);
}

#[test]
fn systemd_does_not_restart_what_cannot_succeed() {
    let hopeless = [ExitCode::Usage, ExitCode::Unsupported, ExitCode::Permission];
    let codes = hopeless.map(|code| (code as u8).to_string()).join(" ");
    assert_eq!(
        values(&packaged("memmon.service"), "RestartPreventExitStatus"),
        [codes]
    );
}

#[test]
fn the_lease_file_survives_the_agent() {
    let unit = packaged("memmon.service");
    assert_eq!(values(&unit, "RuntimeDirectory"), ["memmon"]);
    assert_eq!(values(&unit, "RuntimeDirectoryPreserve"), ["yes"]);
    // Written to by the agent: /sys/fs/cgroup, and what systemd drops in for runtime properties.
    assert_eq!(values(&unit, "ProtectControlGroups"), ["no"]);
    assert_eq!(values(&unit, "ReadWritePaths"), ["/run/systemd"]);
}
