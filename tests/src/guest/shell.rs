//! Running programs in the guest.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs a program and returns what it printed, without the last line end.
///
/// # Errors
/// If it cannot be started or fails; the message has its words.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "")
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {} ended with {}: {}{}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr).trim_end(),
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
