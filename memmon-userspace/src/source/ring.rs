//! Draining a ring buffer without polling.

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::{Interest, unix::AsyncFd};

/// A ring buffer that the runtime waits for.
pub struct Ring {
    fd: AsyncFd<RingBuf<MapData>>,
}

impl Ring {
    /// Registers the ring with the current tokio runtime.
    ///
    /// # Errors
    /// If its file descriptor cannot be registered.
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: aya's ring buffer owns its file descriptor for as long as it lives and always tells the same.
        let fd = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { fd })
    }

    /// Waits until the ring may have records.
    ///
    /// # Errors
    /// If the wait itself fails.
    pub async fn readable(&mut self) -> io::Result<()> {
        // Readiness is cleared before the ring is drained: a record that arrives in between wakes us again.
        self.fd.readable_mut().await?.clear_ready();
        Ok(())
    }

    /// Hands every waiting record to `each`, at most `limit` of them; `true` if there may be more.
    ///
    /// The limit keeps a storm from starving the other tasks of the runtime.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> bool {
        let ring = self.fd.get_mut();
        for _ in 0..limit {
            match ring.next() {
                Some(record) => each(&record),
                None => return false,
            }
        }
        true
    }
}
