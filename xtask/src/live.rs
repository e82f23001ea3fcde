//! `cargo xtask live`: the cases that need this machine's kernel, root, and zram0 for themselves.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::build;

/// Builds the agent and the cases, and runs those whose name contains one of `cases`; all if there is none.
///
/// Not a release build: its panics abort, and then nothing would be put back.
///
/// # Errors
/// If something does not build, or a case fails.
pub(crate) fn run(cases: &[String]) -> Result<()> {
    let memmon = build::agent(false)?;
    let live = build::test_program("live", false)?;
    let mut child = Command::new(live)
        .args(cases)
        .env("MEMMON", memmon)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the cases")?;
    let mut failed = Vec::new();
    for line in BufReader::new(child.stdout.take().context("its output is a pipe")?).lines() {
        let line = line.context("reading what the cases say")?;
        println!("{line}");
        if line.starts_with("FAIL ") {
            failed.push(line);
        }
    }
    let status = child.wait().context("waiting for the cases")?;
    if !status.success() {
        // Again, because much may follow before somebody reads it.
        bail!("ended with {status}; {}", failed.join("; "));
    }
    Ok(())
}
