//! What systemd says about its units, over D-Bus, as long as it says anything.
//!
//! The cgroup tree already names the units; systemd adds what a path cannot tell: aliases, delegation, and the
//! unit files with their `X-MemmonPriority=`. So the agent works without this source, and loses only that.
//!
//! [`watch`] starts a task with a connection of its own (so that its replies never queue behind another user's)
//! and returns the receiving end of a bounded channel. The task ends when the receiver is dropped. It blocks on
//! the bus; the only timer is the back-off between attempts to connect.

mod follow;
mod query;

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::config::Priority;

/// Events that may wait in the channel. A full channel holds the task back, and with it the bus connection.
const CHANNEL: usize = 256;

/// Where to find systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemdOptions {
    /// D-Bus address; `None` for the system bus.
    pub address: Option<String>,
    /// Where `run/systemd/system` is looked for, and unit files are read: `/` outside of tests.
    pub host: PathBuf,
}

impl Default for SystemdOptions {
    fn default() -> Self {
        Self {
            address: None,
            host: PathBuf::from("/"),
        }
    }
}

/// Something that systemd told, or that became of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemdEvent {
    /// All that is known about every active service, scope and slice. Comes after each (re)connection and after
    /// each reload, and replaces everything said before. After [`Self::Lost`] systemd may have been reloaded
    /// unseen: treat it as a reload.
    Snapshot {
        /// systemd's version, as it calls itself (`257.7-1`).
        version: String,
        /// The units.
        units: Vec<UnitInfo>,
    },
    /// A unit was loaded, or loaded again.
    Unit(UnitInfo),
    /// systemd has unloaded the unit of this name.
    Removed(String),
    /// `true`: systemd begins to reload its configuration; `false`: it is done, and a snapshot follows.
    Reloading(bool),
    /// systemd cannot be reached; the sentence says why. Attempts go on, and a snapshot tells of success.
    Lost(String),
}

/// What systemd says about one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitInfo {
    /// Main name (`Id`).
    pub name: String,
    /// Other names (`Names` without `Id`), sorted.
    pub aliases: Vec<String>,
    /// Path of its cgroup; `None` while it has none.
    pub control_group: Option<String>,
    /// `Delegate=`.
    pub delegated: bool,
    /// `X-MemmonPriority=` of its files; `None` if they say nothing valid.
    pub declared: Option<Priority>,
    /// What is wrong with its files, as sentences for the log.
    pub problems: Vec<String>,
}

/// There is no systemd to ask.
#[derive(Debug, thiserror::Error)]
#[error(
    "systemd is not the init system here ({checked} does not exist): units are known by their cgroups only, and limits \
     can be changed through cgroup files only"
)]
pub struct NoSystemd {
    checked: PathBuf,
}

/// Whether systemd is the init system (sd_booted(3)).
///
/// # Errors
/// If not: the sentence to tell.
pub fn booted(host: &Path) -> Result<(), NoSystemd> {
    let checked = host.join("run/systemd/system");
    if checked.is_dir() {
        Ok(())
    } else {
        Err(NoSystemd { checked })
    }
}

/// Starts to follow systemd, on the current tokio runtime.
///
/// # Errors
/// If systemd is not the init system. A bus that cannot be reached is a [`SystemdEvent::Lost`].
pub fn watch(options: SystemdOptions) -> Result<mpsc::Receiver<SystemdEvent>, NoSystemd> {
    booted(&options.host)?;
    let (events, receiver) = mpsc::channel(CHANNEL);
    tokio::spawn(async move {
        tokio::select! {
            () = events.closed() => {}
            () = follow::follow(&options, &events) => {}
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
