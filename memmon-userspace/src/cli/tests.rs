//! The definition of the command line.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use super::{Cli, Command, ExitCode, Failure, args::span, exit};
use crate::config::Config;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_line_of_the_contract_parses() {
    for line in [
        "memmon run",
        "memmon run --config F --dry-run --interval 2",
        "memmon trace",
        "memmon trace --unit a*.service --unit b.service --critical --pages --json --duration 5m --count 3",
        "memmon report --json",
        "memmon report --apply",
        "memmon report --dry-run",
        "memmon status",
        "memmon status --json",
        "memmon top",
        "memmon top --interval 5 --ascii --config F",
        "memmon check --self-test --json",
        "memmon config check",
        "memmon config check F",
        "memmon config show",
        "memmon history --since 7d --until 6d --unit a.service --json",
        "memmon history --kind decision --limit 5",
        "memmon forecast --window 1d --unit a.service --json",
        "memmon record --interval 5 --duration 10m F",
        "memmon record --from-history 1d F",
        "memmon simulate --policy NEW.toml RECORDING",
        "memmon config units",
        "memmon config units --apply a.service",
        "memmon config units --revert",
        "memmon adopt --pid 11 --pid 12 --unit NAME.scope --priority high",
        "memmon adopt --release --unit NAME.scope",
        "memmon completions bash",
        "memmon man",
    ] {
        parse(line).expect(line);
    }
}

#[test]
fn bad_values_are_usage_errors_that_name_value_and_remedy() {
    for (line, parts) in [
        ("memmon run --interval 0", ["'0'", "--interval", "500ms"]),
        (
            "memmon run --interval soon",
            ["'soon'", "--interval", "number of seconds"],
        ),
        ("memmon run --interval -1", ["'-1'", "", ""]),
        ("memmon trace --duration 0s", ["'0s'", "--duration", "500ms"]),
        (
            "memmon trace --duration 1000y",
            ["'1000y'", "--duration", "a year"],
        ),
        ("memmon top --interval 10ms", ["'10ms'", "--interval", "100ms"]),
        ("memmon trace --count 0", ["'0'", "--count", ""]),
        ("memmon trace --unit a[", ["'a['", "--unit", "close it"]),
        ("memmon report --apply --dry-run", ["--apply", "--dry-run", ""]),
        ("memmon completions csh", ["'csh'", "fish", "zsh"]),
        ("memmon statsu", ["'statsu'", "", ""]),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), i32::from(ExitCode::Usage as u8), "{line}");
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{part:?} expected for {line}:\n{text}");
        }
    }
}

#[test]
fn time_spans() {
    assert_eq!(span("5"), Ok(Duration::from_secs(5)));
    assert_eq!(span("0.25"), Ok(Duration::from_millis(250)));
    assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
    for bad in ["", "-5", "nan", "inf", "1e300", "0", "0ms", "5 apples"] {
        assert!(span(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_interval_has_a_default() {
    let Command::Run(args) = parse("memmon run").unwrap().command else {
        panic!("not run")
    };
    assert!(!args.interval.is_zero());
    assert!(!args.dry_run);
}

#[test]
fn errors_are_classified_by_what_they_are() {
    let config = Config::from_text("f", "listen = 1").unwrap_err();
    assert_eq!(Failure::from(config).code, ExitCode::Usage);
    let wrapped = anyhow::Error::new(Config::from_text("f", "listen = 1").unwrap_err()).context("reloading");
    assert_eq!(Failure::from(wrapped).code, ExitCode::Usage);
    assert_eq!(Failure::from(anyhow::anyhow!("no")).code, ExitCode::Failed);
}

#[test]
fn only_a_broken_pipe_of_standard_output_is_success() {
    let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    assert_eq!(
        exit::finish(Err(exit::StdoutError(broken()).into())),
        ExitCode::Done
    );
    let full = exit::StdoutError(std::io::ErrorKind::StorageFull.into());
    assert_eq!(exit::finish(Err(full.into())), ExitCode::Failed);
    assert_eq!(exit::finish(Err(broken().into())), ExitCode::Failed);
}
