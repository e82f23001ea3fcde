//! The test runner inside a virtual machine: all cases (no argument), or `case NAME` for one of them.

use std::process::ExitCode;

use anyhow::{Result, bail};
use memmon_tests::guest::runner;

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("memmon-guest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    if !runner::inside_a_test_machine() {
        bail!("this is no test machine: cases swap, reclaim and kill; use `cargo xtask vm run`");
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => runner::run_all().map(|()| ExitCode::SUCCESS),
        ["case", name] => runner::run_case(name),
        _ => bail!("usage: memmon-guest [case NAME]"),
    }
}
