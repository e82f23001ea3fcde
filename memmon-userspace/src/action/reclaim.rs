//! Takes memory from a cgroup by `memory.reclaim`. The write reclaims in the writer, for seconds: this is for a
//! thread of its own that nothing waits for.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::fault::{self, Point};
use super::systemd_props::is_unit_directory;
use crate::decode::{Pressure, cgroup_file};
use crate::source::cgroupfs::{CgroupDir, CgroupRoot, Text};

/// Reclaimed at a time: between two pieces the unit and the wish to stop are looked at.
const PIECE: u64 = 8 << 20;

/// What to take, and from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaim {
    /// The unit.
    pub unit: String,
    /// Its cgroup, from the root of the hierarchy.
    pub cgroup: String,
    /// Inode of that cgroup's directory.
    pub inode: u64,
    /// Bytes, at most.
    pub amount: u64,
    /// `swappiness=`; `None`: the kernel decides.
    pub swappiness: Option<u8>,
    /// Stop when so many per mille of the time since the start were lost by the unit's tasks waiting for memory.
    pub pressure: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Reclaimed {
    /// By how much the cgroup's usage fell, bytes.
    pub gained: u64,
    /// Why it ended early; `None`: everything was asked for.
    pub ended: Option<ReclaimError>,
}

/// Why reclaiming ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReclaimError {
    /// The unit stopped or was restarted.
    #[error("the unit is gone")]
    Gone,
    /// memmon does not write there.
    #[error("{0} is not the cgroup of the unit itself: memmon does not write below a delegation boundary")]
    NotTheUnits(String),
    /// The unit's usage has fallen to its protection.
    #[error("only its protected memory is left")]
    Protected,
    /// The kernel found nothing more.
    #[error("the kernel found no more to reclaim")]
    NothingLeft,
    /// The unit's own tasks suffer.
    #[error("the unit's tasks were stalled on memory for {0} per mille of the time")]
    Pressure(u32),
    /// The agent ends, or the shortage is over.
    #[error("it is no longer wanted")]
    Stopped,
    /// Something else.
    #[error("cannot {operation} {file}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Which file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Takes memory piece by piece until the amount is asked for, or something speaks against it.
pub fn reclaim(root: &CgroupRoot, order: &Reclaim, stop: &AtomicBool) -> Reclaimed {
    let ended = |gained, error| Reclaimed {
        gained,
        ended: Some(error),
    };
    let dir = match open(root, order) {
        Ok(dir) => dir,
        Err(error) => return ended(0, error),
    };
    let (before, stalled) = match (current(&dir), stalled_us(&dir)) {
        (Ok(current), stalled) => (current, stalled),
        (Err(error), _) => return ended(0, error),
    };
    let started = std::time::Instant::now();
    let mut left = order.amount;
    loop {
        let now = match current(&dir) {
            Ok(now) => now,
            Err(error) => return ended(0, error),
        };
        let gained = before.saturating_sub(now);
        if left == 0 || gained >= order.amount {
            return Reclaimed { gained, ended: None };
        }
        if stop.load(Ordering::Relaxed) {
            return ended(gained, ReclaimError::Stopped);
        }
        let spare = now.saturating_sub(protected(&dir));
        if spare < PIECE.min(left) {
            return ended(gained, ReclaimError::Protected);
        }
        if let (Some(then), Some(now)) = (stalled, stalled_us(&dir)) {
            // In the first moments a single stall would be all of the time.
            let passed = started.elapsed().as_micros().max(1_000_000);
            let share =
                u32::try_from(u128::from(now.saturating_sub(then)) * 1000 / passed).unwrap_or(u32::MAX);
            if share > order.pressure {
                return ended(gained, ReclaimError::Pressure(share));
            }
        }
        let piece = left.min(PIECE);
        fault::at(Point::Reclaim);
        match write(&dir, piece, order.swappiness) {
            Ok(()) => left -= piece,
            Err(Errno::AGAIN) => {
                let gained = current(&dir).map_or(gained, |now| before.saturating_sub(now));
                return ended(gained, ReclaimError::NothingLeft);
            }
            Err(Errno::INTR) => {}
            Err(Errno::NODEV | Errno::NOENT) => return ended(gained, ReclaimError::Gone),
            Err(errno) => {
                let source = errno.into();
                let error = ReclaimError::Io {
                    operation: "write",
                    file: "memory.reclaim",
                    source,
                };
                return ended(gained, error);
            }
        }
    }
}

fn open(root: &CgroupRoot, order: &Reclaim) -> Result<CgroupDir, ReclaimError> {
    if !is_unit_directory(&order.cgroup, &order.unit) {
        return Err(ReclaimError::NotTheUnits(order.cgroup.clone()));
    }
    let dir = root.cgroup(&order.cgroup).map_err(|_| ReclaimError::Gone)?;
    match dir.inode() {
        Ok(inode) if inode == order.inode => Ok(dir),
        _ => Err(ReclaimError::Gone),
    }
}

fn write(dir: &CgroupDir, bytes: u64, swappiness: Option<u8>) -> Result<(), Errno> {
    let text = match swappiness {
        Some(swappiness) => format!("{bytes} swappiness={swappiness}"),
        None => bytes.to_string(),
    };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir.fd(), "memory.reclaim", flags, Mode::empty())?;
    rustix::io::write(&fd, text.as_bytes()).map(drop)
}

fn current(dir: &CgroupDir) -> Result<u64, ReclaimError> {
    let text: Text<32> = dir.text("memory.current").map_err(|_| ReclaimError::Gone)?;
    cgroup_file::bytes(text.as_str()).map_err(|_| ReclaimError::Gone)
}

/// The larger of `memory.low` and `memory.min`: the kernel does not spare the cgroup it is told to reclaim from.
fn protected(dir: &CgroupDir) -> u64 {
    let limit = |file| {
        let text: Text<32> = dir.text(file).ok()?;
        cgroup_file::limit(text.as_str()).ok()
    };
    let most = limit("memory.low").max(limit("memory.min"));
    most.map_or(0, |limit| limit.bytes().unwrap_or(u64::MAX))
}

fn stalled_us(dir: &CgroupDir) -> Option<u64> {
    let text: Text<512> = dir.optional("memory.pressure").ok()??;
    Pressure::parse(text.as_str())
        .ok()
        .map(|pressure| pressure.some.total_us)
}

#[cfg(test)]
#[path = "reclaim_tests.rs"]
mod tests;
