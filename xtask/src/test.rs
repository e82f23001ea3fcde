//! `cargo xtask test`: everything, in the order in which a mistake is found soonest.

use std::{fmt, time::Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{
    build::{cargo, run as run_command},
    check, clients, live,
    setup::{self, Purpose},
    vm, web,
};

/// What the test consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Layering, format, lints, licences.
    Check,
    /// Tests without a kernel.
    Pure,
    /// The client libraries: Python's tests and checks, Rust's doc tests.
    Clients,
    /// Cases on this machine's kernel.
    Live,
    /// The web page in a headless Chromium.
    Web,
    /// Cases in virtual machines.
    Vm,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "check",
            Self::Pure => "pure",
            Self::Clients => "clients",
            Self::Live => "live",
            Self::Web => "web",
            Self::Vm => "vm",
        })
    }
}

/// Runs every part, but those in `skip`; goes on after a failed one, so that one run shows everything.
///
/// # Errors
/// If a part failed. The message names them.
pub(crate) fn run(skip: &[Part]) -> Result<()> {
    setup::ensure(Purpose::Test)?;
    let (mut passed, mut failed, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    let all = [
        Part::Check,
        Part::Pure,
        Part::Clients,
        Part::Web,
        Part::Live,
        Part::Vm,
    ];
    for part in all {
        if skip.contains(&part) {
            skipped.push(part);
            continue;
        }
        eprintln!("\nxtask: ===== {part} =====");
        let started = Instant::now();
        let result = one(part);
        let seconds = started.elapsed().as_secs();
        match result {
            Ok(()) => {
                eprintln!("xtask: {part}: passed in {seconds} s");
                passed.push(part);
            }
            Err(error) => {
                eprintln!("xtask: {part}: FAILED after {seconds} s: {error:#}");
                failed.push(format!("{part}: {error:#}"));
            }
        }
    }
    for part in &skipped {
        println!("skipped part: {part} (asked for)");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        passed.len(),
        failed.len(),
        skipped.len()
    );
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("\n"));
    }
    Ok(())
}

fn one(part: Part) -> Result<()> {
    match part {
        Part::Check => check::all(),
        // Whatever is checked against programs of others is: a missing one is a failure.
        Part::Pure => run_command(
            cargo()
                .args(["nextest", "run", "--locked", "--no-fail-fast"])
                .env("MEMMON_TEST_TOOLS", vm::test_programs()?),
        ),
        Part::Clients => clients::test(),
        Part::Live => live::run(&[]),
        Part::Web => web::test(),
        Part::Vm => vm::test(),
    }
}
