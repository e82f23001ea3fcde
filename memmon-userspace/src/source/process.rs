//! A process held by a pidfd, so that what is read about it is about it and not about a successor of its pid.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process; its pid is not given to another one that this could be taken for: see [`ProcessHandle::read`].
#[derive(Debug)]
pub struct ProcessHandle {
    pid: u32,
    fd: OwnedFd,
}

/// Files of `/proc/PID`, read while the process was alive; `crate::decode::process` takes them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawProcess {
    /// `stat`.
    pub stat: String,
    /// `status`.
    pub status: String,
    /// `cgroup`.
    pub cgroup: String,
    /// Device and inode of `exe`.
    pub file: (u64, u64),
}

/// Nothing could be found out about a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It has ended.
    #[error("process {0} has ended")]
    Gone(u32),
    /// A system call or file failed.
    #[error("{operation} process {pid}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Which process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
}

impl ProcessHandle {
    /// Opens the process that has this pid now. Whoever needs a certain process checks afterwards that it is that
    /// one.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(ProcessError::Gone(pid))?;
        match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Self { pid, fd }),
            Err(rustix::io::Errno::SRCH) => Err(ProcessError::Gone(pid)),
            Err(error) => Err(io_error("pidfd_open of", pid, error.into())),
        }
    }

    /// Takes over a pidfd from somebody who is trusted to know whose it is.
    ///
    /// # Errors
    /// If it is no pidfd, or its process has ended.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, ProcessError> {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let info = fs::read_to_string(path).map_err(|error| io_error("reading fdinfo of", 0, error))?;
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        // -1: it has ended and was reaped; 0: it is not in our pid namespace.
        match pid.and_then(|pid| pid.trim().parse().ok()) {
            Some(pid) if pid > 0 => Ok(Self { pid, fd }),
            _ => Err(ProcessError::Gone(0)),
        }
    }

    /// Its pid.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended; a zombie has.
    pub fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        !matches!(poll(&mut fds, Some(&now)), Ok(0))
    }

    /// Reads what tells this process from others. It was alive all the while, so its pid was its own.
    ///
    /// # Errors
    /// If it has ended, or a file cannot be read.
    pub fn read(&self) -> Result<RawProcess, ProcessError> {
        let path = |file: &str| format!("/proc/{}/{file}", self.pid);
        let text = |file| {
            fs::read(path(file))
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|error| self.failed("reading /proc of", error))
        };
        let exe =
            fs::metadata(path("exe")).map_err(|error| self.failed("reading /proc/PID/exe of", error))?;
        let raw = RawProcess {
            stat: text("stat")?,
            status: text("status")?,
            cgroup: text("cgroup")?,
            file: (exe.dev(), exe.ino()),
        };
        if self.is_gone() {
            return Err(ProcessError::Gone(self.pid));
        }
        Ok(raw)
    }

    /// The pidfd, for waiting until it ends.
    ///
    /// # Errors
    /// If there are no more descriptors.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    fn failed(&self, operation: &'static str, error: io::Error) -> ProcessError {
        if self.is_gone() {
            ProcessError::Gone(self.pid)
        } else {
            io_error(operation, self.pid, error)
        }
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn io_error(operation: &'static str, pid: u32, source: io::Error) -> ProcessError {
    ProcessError::Io {
        operation,
        pid,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_read_until_it_ends() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("cat");
        let handle = ProcessHandle::open(child.id()).expect("alive");
        let raw = handle.read().expect("readable");
        assert!(raw.stat.starts_with(&child.id().to_string()));
        assert!(!handle.is_gone());
        let again = ProcessHandle::from_fd(handle.try_clone().expect("a descriptor")).expect("a pidfd");
        assert_eq!(again.pid(), child.id());
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(handle.is_gone());
        assert!(matches!(handle.read(), Err(ProcessError::Gone(_))));
        assert!(matches!(
            ProcessHandle::from_fd(handle.try_clone().expect("a descriptor")),
            Err(ProcessError::Gone(_))
        ));
    }

    #[test]
    fn what_is_no_pidfd_is_refused() {
        let file = fs::File::open("/dev/null").expect("/dev/null");
        assert!(ProcessHandle::from_fd(file.into()).is_err());
        assert!(matches!(
            ProcessHandle::open(u32::MAX),
            Err(ProcessError::Gone(_))
        ));
    }
}
