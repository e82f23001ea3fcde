//! `cargo xtask vm shell`: a platform to look around in.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    kernel::Kernel,
    platform::Platform,
    qemu::{self, Ports},
    run::{self, Plan},
};
use crate::build;

/// Boots with a shell on this terminal and returns when the machine is powered off.
///
/// # Errors
/// If the machine cannot be set up or QEMU fails.
pub(crate) fn shell(platform: &Platform, kernel: &Kernel, root: &Path, binaries: &Path) -> Result<()> {
    let dir = build::target_dir()
        .join("vm")
        .join(format!("{}-shell", platform.name));
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let plan = Plan {
        cases: Vec::new(),
        deadline: Duration::MAX,
        soak_minutes: None,
    };
    let disks = run::prepare_disks(&dir, platform, kernel, root, binaries, &plan)?;
    eprintln!(
        "vm: {}; `exit` powers it off, Ctrl-A X ends QEMU; binaries are in /opt/memmon/bin",
        kernel.release
    );
    let status = qemu::command(kernel, &disks, &Ports::Interactive)?
        .status()
        .context("starting qemu-system-x86_64")?;
    if !status.success() {
        bail!("qemu ended with {status}");
    }
    Ok(())
}
