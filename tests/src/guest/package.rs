//! The Debian package, installed in the machine.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result};

use super::{Ctx, ctx::PAYLOAD, shell, undo::Undo};

/// The package's name.
pub const NAME: &str = "memmon";
/// The administrator's configuration.
pub const CONFIG: &str = "/etc/memmon/memmon.toml";
const PROGRAM: &str = "/usr/bin/memmon";
/// The images leave documentation out; ours is looked at.
const INCLUDE: &str = "--path-include=/usr/share/*/*memmon*";

impl Ctx {
    /// Installs a revision of the package, or upgrades to it; purged after the case.
    ///
    /// # Errors
    /// What dpkg says.
    pub fn install_package(&self, revision: u32) -> Result<String> {
        self.undo().note(&Undo::Package)?;
        let file = Path::new(PAYLOAD).join(format!("memmon_{revision}.deb"));
        dpkg(&[INCLUDE, "--install", &file.to_string_lossy()])
    }
}

/// Runs dpkg, without questions and without waiting for disks.
///
/// # Errors
/// What it says.
pub fn dpkg(arguments: &[&str]) -> Result<String> {
    let environment = ["DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-unsafe-io"];
    shell::run("env", &[&environment[..], arguments].concat())
}

/// dpkg's word for the package's state, and its version; empty if it has never been there.
///
/// # Errors
/// If dpkg cannot be started.
pub fn state() -> Result<String> {
    let format = "-f=${db:Status-Abbrev}${Version}";
    Ok(shell::run("dpkg-query", &["-W", format, NAME]).unwrap_or_default())
}

/// What `Undo::Package` does.
pub(super) fn purge_and_link() -> Result<()> {
    if !state()?.is_empty() {
        dpkg(&["--purge", NAME])?;
    }
    match fs::symlink_metadata(PROGRAM) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            symlink(Path::new(PAYLOAD).join("bin/memmon"), PROGRAM)
                .with_context(|| format!("linking {PROGRAM}"))
        }
        found => found.map(drop).with_context(|| format!("looking at {PROGRAM}")),
    }
}
