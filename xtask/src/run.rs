//! `cargo xtask run`: the agent on this machine, or, where it could do nothing, its story in a virtual one.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    build,
    setup::{self, Purpose},
    vm,
};

/// Runs the agent here until Ctrl-C, or shows in a virtual machine what it does.
///
/// # Errors
/// If something cannot be installed or built, the agent fails, or the story ends otherwise than it should.
pub(crate) fn main() -> Result<()> {
    let Some(why) = unfit(Path::new("/"))? else {
        setup::ensure(Purpose::Build)?;
        return here();
    };
    eprintln!("xtask: the agent could do nothing on this machine: {why}");
    eprintln!("xtask: so it runs in a virtual machine (about two minutes; the first time it has to be made)");
    setup::ensure(Purpose::Test)?;
    vm::story()
}

/// The agent in the foreground. Ctrl-C reaches it as well, and it puts back what it changed.
fn here() -> Result<()> {
    let agent = build::agent(false)?;
    eprintln!("xtask: alarms and changed limits are in the journal: journalctl -f -t memmon");
    eprintln!("xtask: Ctrl-C ends the agent, which puts every limit back");
    let status = Command::new(&agent)
        .arg("run")
        .status()
        .with_context(|| format!("starting {}", agent.display()))?;
    if !status.success() {
        bail!("{} run ended with {status}", agent.display());
    }
    Ok(())
}

/// Why the agent could not act on the host whose root directory this is, in words.
///
/// # Errors
/// If /proc cannot be read.
fn unfit(root: &Path) -> Result<Option<String>> {
    let read = |path: &str| {
        let path = root.join(path);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let status = read("proc/self/status")?;
    if effective_uid(&status) != Some(0) {
        return Ok(Some("this is not root".to_owned()));
    }
    let pid1 = read("proc/1/comm")?;
    if pid1.trim() != "systemd" {
        return Ok(Some(format!("its first process is {}, not systemd", pid1.trim())));
    }
    let controllers = read("sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !controllers.split_whitespace().any(|name| name == "memory") {
        return Ok(Some("its memory controller is not on cgroup v2".to_owned()));
    }
    Ok(None)
}

/// From /proc/PID/status: `Uid:` real, effective, saved, file system.
fn effective_uid(status: &str) -> Option<u32> {
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
