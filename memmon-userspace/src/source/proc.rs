//! Files of `/proc` as text; `crate::decode` takes them apart. And the distance between two clocks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A file of `/proc` could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub struct ProcError {
    /// "reading" or "writing".
    pub operation: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Reads files of `/proc`.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Proc {
    /// Reads below `root` instead of `/proc`.
    pub fn at(root: impl AsRef<Path>) -> Self {
        Self {
            root: root.as_ref().to_owned(),
        }
    }

    /// `/proc/meminfo`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn meminfo(&self) -> Result<String, ProcError> {
        self.read("meminfo")
    }

    /// `/proc/vmstat`. Each CPU keeps small differences to itself for up to a second; [`Self::refresh_vmstat`]
    /// brings them in.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn vmstat(&self) -> Result<String, ProcError> {
        self.read("vmstat")
    }

    /// Makes every CPU add its differences to the counters of `/proc/vmstat` (`vm.stat_refresh`). It
    /// interrupts all CPUs: for comparisons, not for periodic reading.
    ///
    /// # Errors
    /// If it cannot be written: it needs root.
    pub fn refresh_vmstat(&self) -> Result<(), ProcError> {
        let path = self.root.join("sys/vm/stat_refresh");
        fs::write(&path, "1").map_err(|source| ProcError {
            operation: "writing",
            path,
            source,
        })
    }

    /// `/proc/pressure/memory`.
    ///
    /// # Errors
    /// If it cannot be read; not found means that this kernel has no pressure information (`CONFIG_PSI`, `psi=1`).
    pub fn memory_pressure(&self) -> Result<String, ProcError> {
        self.read("pressure/memory")
    }

    /// `/proc/PID/maps`: what is mapped where.
    ///
    /// # Errors
    /// If it cannot be read; not found means that there is no such process.
    pub fn maps(&self, pid: u32) -> Result<String, ProcError> {
        self.read(&format!("{pid}/maps"))
    }

    /// `/proc/PID/stat`.
    ///
    /// # Errors
    /// As [`Self::maps`].
    pub fn stat(&self, pid: u32) -> Result<String, ProcError> {
        self.read(&format!("{pid}/stat"))
    }

    /// `/proc/swaps`.
    ///
    /// # Errors
    /// If it cannot be read: the kernel is built without swap.
    pub fn swaps(&self) -> Result<String, ProcError> {
        self.read("swaps")
    }

    fn read(&self, name: &str) -> Result<String, ProcError> {
        let path = self.root.join(name);
        fs::read_to_string(&path).map_err(|source| ProcError {
            operation: "reading",
            path,
            source,
        })
    }
}

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` at this moment, nanoseconds: add it to a kernel timestamp for wall
/// time. It changes when somebody sets the clock and while the host is suspended, so ask again each time.
pub fn wall_clock_offset_ns() -> i128 {
    let nanos = |t: Timespec| i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
    // Read the monotonic clock on both sides: the middle is right even if we are interrupted in between.
    let before = nanos(clock_gettime(ClockId::Monotonic));
    let wall = nanos(clock_gettime(ClockId::Realtime));
    let after = nanos(clock_gettime(ClockId::Monotonic));
    wall - before - (after - before) / 2
}

/// `CLOCK_MONOTONIC`, nanoseconds: the clock of the kernel's events.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).unwrap_or(0)
}

#[cfg(test)]
#[path = "proc_tests.rs"]
mod tests;
