//! cargo's own tools.

use std::{fs, process::Command};

use anyhow::Result;

use super::Purpose;
use crate::build::{cargo, run, target_dir};

/// A cargo subcommand.
pub(super) struct Tool {
    /// What it is for.
    pub(super) needed_for: Purpose,
    /// As in `cargo NAME`.
    pub(super) subcommand: &'static str,
    /// The crate.
    pub(super) package: &'static str,
    /// The version that is installed if there is none; it builds with the workspace's rustc.
    version: &'static str,
    args: &'static [&'static str],
}

/// The subcommands that tests and checks need.
pub(super) const ALL: &[Tool] = &[
    Tool {
        needed_for: Purpose::Package,
        subcommand: "deb",
        package: "cargo-deb",
        version: "3.8.0",
        // xz is a program of every Debian: no need for another copy of it.
        args: &["--debug", "--no-default-features"],
    },
    Tool {
        needed_for: Purpose::Test,
        subcommand: "nextest",
        package: "cargo-nextest",
        version: "0.9.143",
        args: &[
            "--debug",
            "--no-default-features",
            "--features",
            "default-no-update",
        ],
    },
    // Unoptimised: building takes less than half as long, and checking our lock file half a second.
    Tool {
        needed_for: Purpose::Test,
        subcommand: "deny",
        package: "cargo-deny",
        version: "0.20.2",
        args: &["--debug"],
    },
];

/// Installs `tool` unless some version of it is there.
pub(super) fn ensure(tool: &Tool) -> Result<String> {
    let present = cargo().args([tool.subcommand, "--version"]).output();
    if let Ok(output) = present
        && output.status.success()
    {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(format!("present: {}", text.lines().next().unwrap_or_default()));
    }
    cargo_install(tool.package, tool.version, |cargo| {
        cargo.args(tool.args);
    })?;
    Ok(format!("{} installed", tool.version))
}

/// Builds and installs one version of a crate with its own lock file.
pub(super) fn cargo_install(package: &str, version: &str, adjust: impl FnOnce(&mut Command)) -> Result<()> {
    // Not cargo's temporary directory, which is lost when the build is interrupted and may be a small tmpfs.
    let dir = target_dir().join("tools");
    let mut cargo = cargo();
    cargo
        .args([
            "install",
            package,
            "--version",
            version,
            "--locked",
            "--target-dir",
        ])
        .arg(&dir);
    adjust(&mut cargo);
    run(&mut cargo)?;
    // It has served; that it stays behind if it cannot be removed does no harm.
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}
