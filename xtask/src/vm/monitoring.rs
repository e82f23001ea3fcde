//! Prometheus and Alertmanager from Debian's packages, unpacked and never installed: installing would start them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{apt::Apt, cache::Entry, command::run_quietly, disk, host_sources};

/// The oldest release that is tested on: its programs run on the newer ones as well.
const RELEASE: &str = "bookworm";
const PACKAGES: [&str; 2] = ["prometheus", "prometheus-alertmanager"];

/// What was unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Monitoring {
    /// A disk with `usr/` of both packages, which the guest sees as /dev/vde.
    pub(crate) image: PathBuf,
    /// The programs, for tests on this machine.
    pub(crate) programs: PathBuf,
}

/// Unpacks the packages unless that has been done.
///
/// # Errors
/// If they cannot be downloaded or unpacked.
pub(crate) fn ensure() -> Result<Monitoring> {
    let entry = Entry::new(
        "monitoring",
        RELEASE,
        &format!("monitoring 1 {RELEASE} {PACKAGES:?}"),
    )?;
    if entry.version().is_none() {
        eprintln!("vm: Prometheus and Alertmanager of {RELEASE}");
        entry.make(RELEASE, make)?;
    }
    Ok(Monitoring {
        image: entry.file("monitoring.ext4"),
        programs: entry.file("tree/usr/bin"),
    })
}

fn make(dir: &Path) -> Result<()> {
    let apt = Apt::new(&host_sources::mirrors()?, RELEASE)?;
    apt.update()?;
    apt.download(&PACKAGES.map(str::to_owned), dir)?;
    let tree = dir.join("tree");
    for found in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = found?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run_quietly(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&tree))?;
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    disk::make(
        &dir.join("monitoring.ext4"),
        &tree,
        "monitoring",
        disk::Use::ReadOnly,
    )
}
