//! Tells when tasks are stalled on memory, without polling: a PSI trigger (Documentation/accounting/psi.rst).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wakes when tasks have been stalled for 150 ms of a second; at most once a second.
const TRIGGER: &[u8] = b"some 150000 1000000\0";

/// A trigger on a pressure file.
#[derive(Debug)]
pub struct PressureTrigger(AsyncFd<OwnedFd>);

impl PressureTrigger {
    /// Sets a trigger on the file at `path`. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If there is no pressure information (`psi=0`), or no right to set a trigger.
    pub fn new(path: &Path) -> io::Result<Self> {
        let fd = open(
            path,
            OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::io::write(&fd, TRIGGER)?;
        // SAFETY: an OwnedFd keeps its file descriptor open for as long as it lives and always tells the same.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::PRIORITY) }?;
        Ok(Self(fd))
    }

    /// Waits for the next time. May be dropped and called again.
    ///
    /// # Errors
    /// If the cgroup of the file is gone, or the wait fails.
    pub async fn stalled(&mut self) -> io::Result<()> {
        // Cleared before looking: what arrives in between wakes again.
        self.0.ready_mut(Interest::PRIORITY).await?.clear_ready();
        // The kernel hands an event to one poll; the runtime's is edge-triggered, so it is still there.
        let mut fds = [PollFd::new(self.0.get_ref(), PollFlags::PRI)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now))?;
        let seen = fds[0].revents();
        if seen.contains(PollFlags::ERR) {
            return Err(io::Error::other("the pressure file is gone"));
        }
        Ok(())
    }
}
