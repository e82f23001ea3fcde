//! Debian packages.

use std::process::Command;

use anyhow::{Result, bail};

use super::find_program;
use crate::build::run;

/// Installs `packages`. Asks for fresh package lists only where the present ones do not lead to them.
///
/// # Errors
/// If this is no Debian, root's rights cannot be had, or apt fails.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    if find_program("apt-get").is_none() {
        bail!(
            "this host has no apt-get: install by hand what Debian has in {}",
            packages.join(", ")
        );
    }
    if is_root() || find_program("sudo").is_some() {
        let mut install = apt_get(&["install", "--yes", "--no-install-recommends", "--quiet"]);
        install.args(packages);
        if packages.iter().all(|package| has_candidate(package)) && run(&mut install).is_ok() {
            return Ok(());
        }
        // No lists yet, or lists that name versions which the mirror has dropped since.
        update()?;
        return run(&mut install);
    }
    bail!(
        "installing packages needs root: run `apt-get install {}` as root",
        packages.join(" ")
    )
}

/// Whether apt knows a version of `package` that it could install.
pub(super) fn has_candidate(package: &str) -> bool {
    let mut policy = Command::new("apt-cache");
    policy.args(["policy", package]).env("LC_ALL", "C");
    policy
        .output()
        .is_ok_and(|output| names_a_candidate(&String::from_utf8_lossy(&output.stdout)))
}

/// Fetches the package lists.
///
/// # Errors
/// If apt fails.
pub(super) fn update() -> Result<()> {
    run(&mut apt_get(&["update", "--quiet"]))
}

/// Reads the output of `apt-cache policy`, which is empty for a package that apt has never heard of.
pub(super) fn names_a_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|version| version != "(none)")
}

/// `apt-get` as root, without questions, patient with another apt that runs.
fn apt_get(args: &[&str]) -> Command {
    let mut command = if is_root() {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        sudo
    };
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "--option",
        "DPkg::Lock::Timeout=300",
    ]);
    command.args(args);
    command
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
