//! Running other programs: silent while they succeed, their own words when they do not.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// How many lines of a failed command's output its error repeats.
const TAIL: usize = 20;

/// Runs a command whose output only matters if it fails.
///
/// # Errors
/// If it cannot be started or fails; the message repeats the end of what it printed.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    collect(command).map(drop)
}

/// Runs a command and returns its standard output.
///
/// # Errors
/// As [`run_quietly`].
pub(crate) fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&collect(command)?.stdout).into_owned())
}

fn collect(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        bail!(
            "{program} ended with {}:\n{}",
            output.status,
            tail(&String::from_utf8_lossy(&said), TAIL)
        );
    }
    Ok(output)
}

/// The last `lines` lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
