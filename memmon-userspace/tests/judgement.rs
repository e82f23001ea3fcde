//! History, forecast, record and simulate as a user meets them, above all with what they cannot work with: each message
//! names the thing, its value and the remedy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};

use memmon::record::{HOST, Keep, Sample, Store, Tick};
use tempfile::TempDir;

const MEMMON: &str = env!("CARGO_BIN_EXE_memmon");

fn memmon(args: &[&str]) -> Output {
    Command::new(MEMMON).args(args).output().unwrap()
}

/// Requires that the command fails with `code`, prints nothing, and says all `parts` on standard error.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = memmon(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(output.stdout.is_empty(), "{args:?}");
    for part in parts {
        assert!(text.contains(part), "{part:?} expected for {args:?}:\n{text}");
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// A database with two hours of samples, the last one `age` seconds old: a unit leaks 16 MiB a minute below its limit.
fn stored(dir: &TempDir, age: i64) -> PathBuf {
    let path = dir.path().join("history.db");
    let keep = Keep {
        seconds: 30 * 24 * 3600,
        bytes: 64 << 20,
    };
    let mut store = Store::open(&path, keep).unwrap();
    for minute in 0..120_i64 {
        let used = u64::try_from(minute).unwrap() * (16 << 20);
        let sample = |unit: &str, memory, limit| Sample {
            unit: unit.to_owned(),
            memory,
            memory_limit: Some(limit),
            ..Sample::default()
        };
        let tick = Tick {
            at: now() - age - (119 - minute) * 60,
            samples: vec![
                sample(HOST, 2 << 30, 8 << 30),
                sample("omnimind-core.service", (1 << 30) + used, 4 << 30),
                sample("steady.service", 1 << 30, 4 << 30),
            ],
            swap_total: None,
        };
        store.tick(&tick).unwrap();
    }
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_leak_is_forecast_and_what_is_steady_is_not() {
    let dir = TempDir::new().unwrap();
    let path = stored(&dir, 0);
    let output = memmon(&["forecast", "--json", "--database", text(&path)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |unit: &str| {
        let rows = document["forecasts"].as_array().unwrap();
        rows.iter().find(|row| row["unit"] == unit).unwrap().clone()
    };
    let leak = of("omnimind-core.service");
    assert_eq!(leak["outcome"], "exhausts", "{leak}");
    // 3072 MiB are free at the beginning, 1904 are used, 16 more go each minute.
    let expected = leak["expected_seconds"].as_u64().unwrap();
    assert!(expected.abs_diff(73 * 60) < 120, "{expected}");
    assert_eq!(of("steady.service")["outcome"], "no_trend");
    let human = memmon(&[
        "forecast",
        "--database",
        text(&path),
        "--unit",
        "omnimind-core.service",
    ]);
    let human = String::from_utf8(human.stdout).unwrap();
    assert!(human.contains("omnimind-core.service MemoryMax"), "{human}");
    assert!(!human.contains("steady") && !human.contains("ram"), "{human}");
}

#[test]
fn old_samples_are_told_to_be_old() {
    let dir = TempDir::new().unwrap();
    let path = stored(&dir, 3600);
    let output = memmon(&["forecast", "--window", "1d", "--database", text(&path)]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("the last sample is of") && said.contains("systemctl status memmon"),
        "{said}"
    );
}

#[test]
fn a_unit_that_was_never_stored_is_bad_usage() {
    let dir = TempDir::new().unwrap();
    let path = stored(&dir, 0);
    for command in ["history", "forecast"] {
        let with = |unit, parts: &[&str]| {
            refused(&[command, "--unit", unit, "--database", text(&path)], 2, parts);
        };
        with(
            "omnimind.service",
            &["--unit omnimind.service", "there is omnimind-core.service"],
        );
        with(
            "nosuch.service",
            &["--unit nosuch.service", "memmon history without --unit"],
        );
    }
}

#[test]
fn an_empty_span_is_bad_usage() {
    refused(
        &["history", "--since", "1h", "--until", "2h"],
        2,
        &["--since 1h", "--until 2h", "exchange"],
    );
    refused(&["history", "--limit", "0"], 2, &["'0'", "--limit"]);
    refused(&["forecast", "--window", "0"], 2, &["'0'", "--window"]);
    refused(&["history", "--kind", "note"], 2, &["note", "situation"]);
}

#[test]
fn a_database_that_is_not_there_or_not_ours_is_told_apart() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing.db");
    let damaged = dir.path().join("damaged.db");
    fs::write(&damaged, vec![b'x'; 8192]).unwrap();
    let foreign = dir.path().join("foreign.db");
    let other = rusqlite::Connection::open(&foreign).unwrap();
    other.execute_batch("CREATE TABLE unit (name TEXT)").unwrap();
    let newer = stored(&dir, 0);
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    let recording = dir.path().join("r.jsonl");
    for (path, part, remedy) in [
        (&missing, "No such file", "memmon.service"),
        (
            &damaged,
            "damaged or no SQLite database",
            "puts such a file aside",
        ),
        (&foreign, "another program", "another program"),
        (&newer, "number 7", "the memmon that wrote it"),
    ] {
        let parts = [text(path), part, remedy];
        refused(&["history", "--database", text(path)], 1, &parts);
        refused(&["forecast", "--database", text(path)], 1, &parts);
        let record = [
            "record",
            "--from-history",
            "1h",
            "--database",
            text(path),
            text(&recording),
        ];
        refused(&record, 1, &parts);
        assert!(
            !recording.exists(),
            "nothing is written when there is nothing to write"
        );
    }
}

#[test]
fn a_database_that_may_not_be_read_is_4() {
    const NOBODY: u32 = 65534;
    let dir = TempDir::new().unwrap();
    let path = stored(&dir, 0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The build directory may be closed to others.
    let program = dir.path().join("memmon");
    fs::copy(MEMMON, &program).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["history", "--database", text(&path)])
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(text(&path)) && said.contains("as root"), "{said}");
}

#[test]
fn recordings_that_cannot_be_replayed_say_why() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("r.jsonl");
    for (content, parts) in [
        (
            "{\"schema\":\"memmon.recording/2\"}\n",
            ["memmon.recording/2", "memmon.recording/1"],
        ),
        (
            "{\"schema\":\"memmon.report/1\"}\n",
            ["no recording", "first line"],
        ),
        ("not JSON\n", ["no recording", "first line"]),
        (
            "{\"schema\":\"memmon.recording/1\"}\n",
            ["no moments", "record for longer"],
        ),
        (
            "{\"schema\":\"memmon.recording/1\"}\n{\"now\":1}\n",
            ["line 2", "snapshot"],
        ),
    ] {
        fs::write(&path, content).unwrap();
        refused(&["simulate", text(&path)], 1, &[text(&path), parts[0], parts[1]]);
    }
    let missing = dir.path().join("missing.jsonl");
    refused(
        &["simulate", text(&missing)],
        1,
        &[text(&missing), "No such file"],
    );
}

#[test]
fn a_policy_with_errors_is_2_with_the_place_first_and_costs_no_recording() {
    let dir = TempDir::new().unwrap();
    let policy = dir.path().join("new.toml");
    fs::write(&policy, "[forecast]\nalarm_within = 5\nalarm_with = '5m'\n").unwrap();
    let recording = dir.path().join("r.jsonl");
    fs::write(&recording, "an older recording").unwrap();
    for args in [
        ["simulate", "--policy", text(&policy), text(&recording)],
        ["record", "--config", text(&policy), text(&recording)],
    ] {
        let place = format!("{}:2:16: [forecast] alarm_within", text(&policy));
        refused(&args, 2, &[&place, ":3:1:", "alarm_with", "alarm_within"]);
        assert_eq!(fs::read_to_string(&recording).unwrap(), "an older recording");
    }
}

#[test]
fn units_and_scopes_that_are_none_are_bad_usage() {
    refused(
        &["config", "units", "omnimind"],
        2,
        &["omnimind is not the name", "omnimind.service"],
    );
    refused(
        &[
            "adopt",
            "--pid",
            "4711",
            "--unit",
            "w.service",
            "--priority",
            "high",
        ],
        2,
        &["w.service", "worker.scope"],
    );
    refused(
        &["adopt", "--pid", "1", "--unit", "w.scope", "--priority", "high"],
        2,
        &["--pid"],
    );
    refused(
        &["adopt", "--pid", "2", "--unit", "w.scope", "--priority", "urgent"],
        2,
        &["urgent", "critical"],
    );
}

#[test]
fn help_has_examples_that_parse() {
    for command in [
        "report",
        "history",
        "forecast",
        "simulate",
        "record",
        "adopt",
        "config units",
        "trace",
        "status",
        "check",
        "run",
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        let output = memmon(&args);
        assert_eq!(output.status.code(), Some(0));
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("EXAMPLES\n"), "{command}:\n{help}");
        let example = format!("\n  memmon {command}");
        assert!(help.contains(&example), "{command} shows itself:\n{help}");
    }
}
