//! The label sets, one type for each.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Unit {
    /// Name.
    pub unit: Arc<str>,
}

/// Pages swapped out of a unit on one kind of occasion.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct SwapOut {
    /// Owner of the pages.
    pub unit: Arc<str>,
    /// As `reclaimer.kind` of `memmon trace --json`.
    pub kind: &'static str,
}

/// Pages of a critical unit, or of a tagged region, that went to swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Critical {
    /// Owner of the pages.
    pub unit: Arc<str>,
    /// Label of the tag, or [`super::UNTAGGED`].
    pub region: Arc<str>,
}

/// Who lost pages to whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Blame {
    /// Owner of the pages.
    pub victim: Arc<str>,
    /// Unit that pushed them out; `kswapd`; `unknown` where the kernel does not tell.
    pub reclaimer: Arc<str>,
    /// As `reclaimer.kind` of `memmon trace --json`.
    pub kind: &'static str,
}

/// Stalls of a unit's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Stall {
    /// Unit of the stalled tasks.
    pub unit: Arc<str>,
    /// `direct`, `memcg` or `throttled`.
    pub kind: &'static str,
}

/// An alarm that is on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Alarm {
    /// The unit concerned; `(host)` is the host.
    pub unit: Arc<str>,
    /// `warning` or `critical`.
    pub severity: &'static str,
}

/// A step that memmon took, or did not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Action {
    /// The unit concerned.
    pub unit: Arc<str>,
    /// As `action` of the report's strategies.
    pub action: &'static str,
    /// `done`, `confirmed`, `dry_run`, `skipped`, `gone` or `failed`.
    pub result: &'static str,
}

/// Limits that memmon holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Lease {
    /// The unit concerned.
    pub unit: Arc<str>,
    /// systemd's name of the limit.
    pub property: &'static str,
}

/// Something that will be used up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Exhaustion {
    /// `ram`, `swap` or `memory_max`.
    pub resource: &'static str,
    /// The unit concerned; empty for the host.
    pub unit: Arc<str>,
}

/// Why something was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

/// An eBPF program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Program {
    pub(super) program: String,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: &'static str,
}
