//! Where a test can have the agent killed: between any two steps by which a limit is changed or put back, and while
//! memory is taken or brought back.
//!
//! Only a build with debug assertions does this, so no release does. There, the environment variable
//! [`VARIABLE`] names a file; when the agent comes to the point whose name the file holds, it removes the file and
//! kills itself (SIGKILL). The start that follows finds no file and goes on undisturbed.

use std::ffi::OsStr;
use std::path::Path;

/// Names the file that holds the name of a point.
pub const VARIABLE: &str = "MEMMON_FAULT";

/// A boundary between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A limit is to be changed, and no lease says so yet.
    BeforeLease,
    /// The lease is on record, the cgroup file not yet written.
    AfterLease,
    /// The cgroup file is written, systemd not yet asked.
    AfterLimit,
    /// What systemd had is on record, and systemd is about to be asked.
    BeforeSystemd,
    /// systemd has the value, and the lease does not say so yet.
    AfterSystemd,
    /// The lease says that systemd has the value.
    AfterOfficial,
    /// A limit is to be put back, and nothing of it is done yet.
    BeforeRevert,
    /// The cgroup file has its old value, systemd does not.
    AfterRevert,
    /// The drop-in is about to be removed.
    BeforeDropIn,
    /// The drop-in is removed, and systemd has not read its configuration since.
    AfterDropIn,
    /// systemd has read its configuration, and the lease is still on record.
    AfterReload,
    /// Everything is back but the lease.
    BeforeLeaseEnd,
    /// The lease file is written anew, but not yet in its place.
    LeaseFile,
    /// The lease has ended.
    AfterLeaseEnd,
    /// A piece of a unit's memory is about to be reclaimed.
    Reclaim,
    /// A chunk of a process's pages is about to be brought back.
    BringBack,
}

impl Point {
    /// All of them, in the order in which a change and its end come to them.
    pub const ALL: [Self; 16] = [
        Self::BeforeLease,
        Self::AfterLease,
        Self::AfterLimit,
        Self::BeforeSystemd,
        Self::AfterSystemd,
        Self::AfterOfficial,
        Self::BeforeRevert,
        Self::AfterRevert,
        Self::BeforeDropIn,
        Self::AfterDropIn,
        Self::AfterReload,
        Self::BeforeLeaseEnd,
        Self::LeaseFile,
        Self::AfterLeaseEnd,
        Self::Reclaim,
        Self::BringBack,
    ];

    /// The name that the file has to hold.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeLease => "before-lease",
            Self::AfterLease => "after-lease",
            Self::AfterLimit => "after-limit",
            Self::BeforeSystemd => "before-systemd",
            Self::AfterSystemd => "after-systemd",
            Self::AfterOfficial => "after-official",
            Self::BeforeRevert => "before-revert",
            Self::AfterRevert => "after-revert",
            Self::BeforeDropIn => "before-drop-in",
            Self::AfterDropIn => "after-drop-in",
            Self::AfterReload => "after-reload",
            Self::BeforeLeaseEnd => "before-lease-end",
            Self::LeaseFile => "lease-file",
            Self::AfterLeaseEnd => "after-lease-end",
            Self::Reclaim => "reclaim",
            Self::BringBack => "bring-back",
        }
    }
}

/// The agent is at `point`: returns, unless a test wants it dead here.
pub(super) fn at(point: Point) {
    if cfg!(debug_assertions) && wanted(std::env::var_os(VARIABLE).as_deref(), point) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // Nothing of what follows may happen before the signal arrives.
        loop {
            std::thread::park();
        }
    }
}

/// The file holds the name of `point`, and is gone now: a second start must not be killed by it.
fn wanted(file: Option<&OsStr>, point: Point) -> bool {
    file.map(Path::new).is_some_and(|file| {
        std::fs::read_to_string(file).is_ok_and(|name| name.trim_end() == point.as_str())
            && std::fs::remove_file(file).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_point_that_the_file_names_is_wanted_and_only_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("fault");
        assert!(!wanted(Some(file.as_os_str()), Point::AfterLease), "no file");
        std::fs::write(&file, "after-lease\n").expect("written");
        assert!(!wanted(None, Point::AfterLease), "no variable");
        assert!(
            !wanted(Some(file.as_os_str()), Point::AfterLimit),
            "another point"
        );
        assert!(file.exists(), "it waits for its point");
        assert!(wanted(Some(file.as_os_str()), Point::AfterLease));
        assert!(
            !file.exists() && !wanted(Some(file.as_os_str()), Point::AfterLease),
            "twice"
        );
    }

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = Point::ALL.map(Point::as_str).into();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
