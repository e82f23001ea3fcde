//! Tells when tasks are stalled on memory, without polling: a PSI trigger (Documentation/accounting/psi.rst).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wakes when tasks have been stalled for 300 ms of two seconds; at most once in two seconds.
///
/// Without `CAP_SYS_RESOURCE`, which the packaged unit does not have, the kernel takes windows of whole multiples of two
/// seconds only, and before 6.5 none at all (`psi_trigger_create` in kernel/sched/psi.c).
const TRIGGER: &[u8] = b"some 300000 2000000\0";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_one_that_the_kernel_takes_from_an_unprivileged_agent() {
        let text = std::str::from_utf8(TRIGGER).expect("text").trim_end_matches('\0');
        let words: Vec<&str> = text.split(' ').collect();
        let window: u64 = words[2].parse().expect("microseconds");
        assert_eq!((words[0], window % 2_000_000), ("some", 0));
    }
}
