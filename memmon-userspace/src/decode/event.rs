//! Records of the ring buffers.

use std::fmt;

use memmon_common::event::{
    CgroupEvent, EventHeader, SwapOutEvent, cgroup_flag, event_kind, reclaim_kind, stall_kind,
};
use memmon_common::pod;

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A folio was handed to swap.
    SwapOut(SwapOut),
    /// A cgroup came or went.
    Cgroup(CgroupLife),
}

/// A folio was handed to swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapOut {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ts_ns: u64,
    /// Cgroup id of the owner of the folio.
    pub owner: u64,
    /// Who pushed it out.
    pub reclaimer: Reclaimer,
    /// Pages of the folio.
    pub pages: u64,
    /// Pages of the same cgroup since its previous record that were only counted.
    pub suppressed_pages: u64,
    /// Which folio: for comparison with [`super::PageOut::folio`] only.
    pub folio: u64,
}

/// Who pushed a page out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaimer {
    /// On what occasion.
    pub kind: ReclaimKind,
    /// Cgroup id of the culprit: the cgroup whose limit was hit for [`ReclaimKind::Limit`], else that of
    /// the task; `None` for kswapd and where it could not be read.
    pub cgroup_id: Option<u64>,
    /// Process id of the task that did the work (for limit reclaim not necessarily the culprit).
    pub pid: u32,
    /// Name of that task.
    pub comm: String,
}

/// The occasion of a reclaim; the names are those of the JSON and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReclaimKind {
    /// Background reclaim by the kernel.
    Kswapd,
    /// A task short of free pages on the host.
    Direct,
    /// A cgroup's own `memory.max` or `memory.high`.
    Limit,
    /// `memory.reclaim`.
    Proactive,
    /// `MADV_PAGEOUT`, by the owner or from outside.
    Madvise,
    /// Limit or proactive; this kernel cannot tell which.
    Memcg,
    /// Something else: DAMON, hibernation, a kernel thread.
    Other,
}

impl ReclaimKind {
    /// The name used in JSON, metrics and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kswapd => "kswapd",
            Self::Direct => "direct",
            Self::Limit => "limit",
            Self::Proactive => "proactive",
            Self::Madvise => "madvise",
            Self::Memcg => "memcg",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ReclaimKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<u64> for ReclaimKind {
    type Error = DecodeError;

    fn try_from(value: u64) -> Result<Self, DecodeError> {
        Ok(match u32::try_from(value).unwrap_or(u32::MAX) {
            reclaim_kind::KSWAPD => Self::Kswapd,
            reclaim_kind::DIRECT => Self::Direct,
            reclaim_kind::LIMIT => Self::Limit,
            reclaim_kind::PROACTIVE => Self::Proactive,
            reclaim_kind::MADVISE => Self::Madvise,
            reclaim_kind::MEMCG => Self::Memcg,
            reclaim_kind::OTHER => Self::Other,
            _ => {
                return Err(DecodeError::Unknown {
                    what: "reclaim kind",
                    value,
                });
            }
        })
    }
}

/// Why a task had to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StallKind {
    /// Direct reclaim.
    Direct,
    /// Reclaim inside a cgroup.
    Memcg,
    /// Throttled because reclaim made no progress.
    Throttled,
}

impl StallKind {
    /// The name used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Memcg => "memcg",
            Self::Throttled => "throttled",
        }
    }
}

impl TryFrom<u64> for StallKind {
    type Error = DecodeError;

    fn try_from(value: u64) -> Result<Self, DecodeError> {
        Ok(match u32::try_from(value).unwrap_or(u32::MAX) {
            stall_kind::DIRECT => Self::Direct,
            stall_kind::MEMCG => Self::Memcg,
            stall_kind::THROTTLED => Self::Throttled,
            _ => {
                return Err(DecodeError::Unknown {
                    what: "stall kind",
                    value,
                });
            }
        })
    }
}

/// A cgroup came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupLife {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ts_ns: u64,
    /// Which of the three.
    pub change: CgroupChange,
    /// Cgroup id.
    pub id: u64,
    /// Cgroup id of the parent, if it could be read.
    pub parent: Option<u64>,
    /// Path from the root of the hierarchy; `None` if it was too long for the record.
    pub path: Option<String>,
    /// The eBPF program has already marked it critical because its parent is.
    pub inherited_critical: bool,
}

/// What happened to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupChange {
    /// Made.
    Mkdir,
    /// Removed from the tree; pages may remain.
    Rmdir,
    /// The kernel forgot it.
    Release,
}

/// A record that is not what the contract says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too few bytes.
    #[error("record of {got} bytes is shorter than the {want} that a {what} needs")]
    Short {
        /// Which record.
        what: &'static str,
        /// Bytes there.
        got: usize,
        /// Bytes needed.
        want: usize,
    },
    /// A number outside its enumeration.
    #[error("unknown {what} {value}")]
    Unknown {
        /// Which enumeration.
        what: &'static str,
        /// The number.
        value: u64,
    },
}

pub(super) fn read<T: pod::Pod>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    pod::read_from(bytes).ok_or(DecodeError::Short {
        what,
        got: bytes.len(),
        want: size_of::<T>(),
    })
}

/// Decodes one ring-buffer record.
///
/// # Errors
/// If the record is shorter than its kind needs, or a number in it is unknown.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let header: EventHeader = read("header", bytes)?;
    match header.kind {
        event_kind::SWAP_OUT => swap_out(&read("swap-out record", bytes)?),
        event_kind::CGROUP_MKDIR => cgroup(&read("cgroup record", bytes)?, CgroupChange::Mkdir),
        event_kind::CGROUP_RMDIR => cgroup(&read("cgroup record", bytes)?, CgroupChange::Rmdir),
        event_kind::CGROUP_RELEASE => cgroup(&read("cgroup record", bytes)?, CgroupChange::Release),
        other => Err(DecodeError::Unknown {
            what: "record kind",
            value: other.into(),
        }),
    }
}

fn swap_out(raw: &SwapOutEvent) -> Result<Event, DecodeError> {
    Ok(Event::SwapOut(SwapOut {
        ts_ns: raw.header.ts_ns,
        owner: raw.owner,
        reclaimer: reclaimer(raw.reclaim_kind, raw.reclaimer, raw.tgid, &raw.comm)?,
        pages: raw.pages.into(),
        suppressed_pages: raw.suppressed_pages,
        folio: raw.folio,
    }))
}

/// Who reclaimed, from the fields that every record of a page has.
pub(super) fn reclaimer(kind: u32, cgroup: u64, pid: u32, name: &[u8]) -> Result<Reclaimer, DecodeError> {
    Ok(Reclaimer {
        kind: ReclaimKind::try_from(u64::from(kind))?,
        cgroup_id: (cgroup != 0).then_some(cgroup),
        pid,
        comm: comm(name),
    })
}

/// A NUL-padded task name.
pub(super) fn comm(raw: &[u8]) -> String {
    let len = raw.iter().position(|&b| b == 0).unwrap_or(raw.len());
    String::from_utf8_lossy(&raw[..len]).into_owned()
}

fn cgroup(raw: &CgroupEvent, change: CgroupChange) -> Result<Event, DecodeError> {
    let len = raw.path_len as usize;
    if len > raw.path.len() {
        return Err(DecodeError::Unknown {
            what: "cgroup path length",
            value: raw.path_len.into(),
        });
    }
    let cut = raw.flags & cgroup_flag::PATH_CUT != 0;
    Ok(Event::Cgroup(CgroupLife {
        ts_ns: raw.header.ts_ns,
        change,
        id: raw.id,
        parent: (raw.parent != 0).then_some(raw.parent),
        path: (!cut).then(|| String::from_utf8_lossy(&raw.path[..len]).into_owned()),
        inherited_critical: raw.flags & cgroup_flag::INHERITED_CRITICAL != 0,
    }))
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
