//! What callers want, for the tasks that own it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Process;
use crate::attribute::tags::TagError;
use crate::export::json::report::{ReportDocument, StrategyField};

/// One bounded channel to each owner.
#[derive(Clone, Debug)]
pub struct Doors {
    /// To the owner of the tags.
    pub tags: mpsc::Sender<TagRequest>,
    /// To whoever writes reports.
    pub reports: mpsc::Sender<ReportRequest>,
    /// To the owner of the leases.
    pub orders: mpsc::Sender<Order>,
}

/// A process tags its memory, or takes that back.
#[derive(Debug)]
pub struct TagRequest {
    /// Who asks, and whose memory it is.
    pub process: Process,
    /// What.
    pub what: Tagging,
    /// The tag's id, once it is in force.
    pub answer: oneshot::Sender<Result<u64, Refused>>,
}

/// A tag was not made, or not taken away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It makes no sense, or a limit is reached.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// This kernel cannot tell which page of a process goes to swap, or not now.
    #[error("tags do nothing on this host: {0}; memmon check says more")]
    Unavailable(String),
    /// The kernel's side has no room, and did not get any for a while.
    #[error("the tag is not in force: {0}")]
    Full(String),
    /// The kernel's side did not take it.
    #[error("the tags could not be brought into force: {0}")]
    Kernel(String),
}

/// What about a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagging {
    /// A new one.
    Tag {
        /// First byte.
        start: u64,
        /// Bytes.
        length: u64,
        /// What the process calls it.
        label: String,
    },
    /// No more.
    Untag {
        /// Which.
        id: u64,
    },
}

/// Somebody wants to know.
#[derive(Debug)]
pub enum ReportRequest {
    /// The report.
    Report(oneshot::Sender<Result<Arc<ReportDocument>, String>>),
    /// The report without what is proposed, which the loop would have to work out.
    Glance(oneshot::Sender<Result<Arc<ReportDocument>, String>>),
    /// All of the state, for people.
    Dump(DumpRequest),
    /// Tagged ranges.
    Ranges(RangesRequest),
}

/// Tagged ranges, by process.
#[derive(Debug)]
pub struct RangesRequest {
    /// For which user: root sees all, others those of their own processes.
    pub uid: u32,
    /// The ranges; disjoint within a process.
    pub answer: oneshot::Sender<Result<Vec<RangeField>, String>>,
}

/// A tagged range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeField {
    /// Process id.
    pub pid: u32,
    /// When the process started, clock ticks since boot: its id may be another's by now.
    pub started: u64,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// What the process calls it.
    pub label: String,
}

/// All of the state, for people.
#[derive(Debug)]
pub struct DumpRequest {
    /// For which user: root, and others for their own processes, may see process ids and addresses.
    pub uid: u32,
    /// The text.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Root wants something done.
#[derive(Debug)]
pub enum Order {
    /// `ApplyStrategies`.
    Apply {
        /// Only say what would be done.
        dry_run: bool,
        /// What was, or would be, done.
        answer: oneshot::Sender<Vec<StrategyField>>,
    },
    /// `RevertAll`. The answer comes when every lease there was has ended; dropped if that cannot be known.
    RevertAll {
        /// Tells the end.
        answer: oneshot::Sender<()>,
    },
}
