//! `cargo xtask live`: the cases that need this machine's kernel, root, and zram0 for themselves.

use std::process::Command;

use anyhow::Result;

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
    build::run(Command::new(live).args(cases).env("MEMMON", memmon))
}
