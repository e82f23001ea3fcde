//! The program as a user meets it: exit codes, messages, and what goes to which stream.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Read as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

const MEMMON: &str = env!("CARGO_BIN_EXE_memmon");

fn memmon(args: &[&str]) -> Output {
    Command::new(MEMMON)
        .args(args)
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn file(dir: &TempDir, text: &str) -> String {
    let path = dir.path().join("memmon.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn help_and_version_succeed() {
    for args in [
        ["--help"].as_slice(),
        &["--version"],
        &["trace", "--help"],
        &["config", "show", "--help"],
    ] {
        let output = memmon(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
        assert!(!output.stdout.contains(&0x1b), "no colours into a pipe: {args:?}");
    }
}

#[test]
fn bad_usage_is_2() {
    for args in [
        [].as_slice(),
        &["nonsense"],
        &["trace", "--unit", "a["],
        &["run", "--interval", "0"],
        &["config"],
    ] {
        let output = memmon(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn bad_configuration_is_2_with_the_place_first() {
    let dir = TempDir::new().unwrap();
    let path = file(
        &dir,
        "[thresholds]\nram_high = 0.95\n\n[units]\n'a[.service' = 'low'\n",
    );
    for args in [
        ["config", "check", &path].as_slice(),
        &["config", "show", "--config", &path],
        &["run", "--config", &path],
        &["trace", "--config", &path],
        &["report", "--config", &path],
    ] {
        let output = memmon(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
        let text = stderr(&output);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].starts_with(&format!("{path}:5:1: [units]: value 'a[.service'")),
            "{args:?}: {text}"
        );
        assert!(
            lines[1].starts_with(&format!("{path}:2:12: [thresholds] ram_high: value 0.95")),
            "{text}"
        );
        assert_eq!(lines.len(), 2, "{text}");
    }
}

#[test]
fn a_missing_configuration_file_is_2() {
    let output = memmon(&["config", "check", "/nonexistent/memmon.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("/nonexistent/memmon.toml: reading the configuration: No such file"));
}

#[test]
fn a_good_configuration_is_shown() {
    let dir = TempDir::new().unwrap();
    let path = file(
        &dir,
        "[units]\n'dbus.service' = 'high'\n[reaction]\nhold = '1h'\n",
    );
    let check = memmon(&["config", "check", &path]);
    assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
    assert!(
        stdout(&check).contains(&format!("valid: {path}\n")),
        "{}",
        stdout(&check)
    );
    assert!(
        stdout(&check).contains("note: [units] dbus.service"),
        "{}",
        stdout(&check)
    );

    let shown = memmon(&["config", "show", "--config", &path]);
    assert!(
        stdout(&shown).contains(&format!("hold = \"1h\"  # {path}:4\n")),
        "{}",
        stdout(&shown)
    );
    let copy = file(&dir, &stdout(&shown));
    assert_eq!(memmon(&["config", "check", &copy]).status.code(), Some(0));

    let json = memmon(&["config", "show", "--json", "--config", &copy]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["config"]["reaction"]["hold"], "1h");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = memmon(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("trace"), "{shell}");
    }
    let script = memmon(&["completions", "bash"]).stdout;
    let dir = TempDir::new().unwrap();
    let path = file(&dir, &String::from_utf8(script).unwrap());
    assert!(
        Command::new("bash")
            .args(["-n", &path])
            .status()
            .unwrap()
            .success(),
        "bash cannot read it"
    );
}

#[test]
fn the_manual_page_has_every_subcommand_and_the_exit_codes() {
    let page = stdout(&memmon(&["man"]));
    assert!(page.contains(".TH memmon 1"), "{page}");
    for section in [
        "MEMMON RUN",
        "MEMMON TRACE",
        "MEMMON REPORT",
        "MEMMON TOP",
        "MEMMON CHECK",
        "MEMMON CONFIG CHECK",
        "MEMMON CONFIG SHOW",
    ] {
        assert!(page.contains(&format!(".SH \"{section}\"")), "{section}");
    }
    assert!(page.contains(".SH \"EXIT STATUS\"\n.nf\n0  done\n"), "{page}");

    let dir = TempDir::new().unwrap();
    let output = memmon(&["man", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(dir.path().join("memmon-trace.1").exists() && dir.path().join("memmon.1").exists());

    let output = memmon(&["man", "--dir", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("writing the manual pages to /nonexistent: No such file"));
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    // /dev/full shows that other failures of standard output are told.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(MEMMON)
        .args(["man"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("writing standard output: No space left"),
        "{}",
        stderr(&output)
    );

    let mut child = Command::new(MEMMON)
        .args(["man"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!((status.code(), message.as_str()), (Some(0), ""));
}

/// Runs memmon without root's capabilities, whoever runs the test.
fn unprivileged(args: &[&str]) -> Output {
    const NOBODY: u32 = 65534;
    // The build directory may be closed to others.
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("memmon");
    fs::copy(MEMMON, &program).unwrap();
    let mut command = Command::new(&program);
    command.args(args).current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

#[test]
fn without_privilege_it_is_4_with_the_capability() {
    for (args, command) in [
        (["run"].as_slice(), "memmon run"),
        (&["trace"], "memmon trace"),
        (&["check"], "memmon check"),
        (&["check", "--self-test"], "memmon check --self-test"),
    ] {
        let output = unprivileged(args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {text}");
        assert!(
            text.starts_with(&format!("memmon: {command}: this process lacks CAP_BPF")),
            "{text}"
        );
        assert!(text.contains("CAP_PERFMON") && text.contains("as root"), "{text}");
    }
}

#[test]
fn the_configuration_can_be_checked_without_privilege() {
    let output = unprivileged(&["config", "check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
