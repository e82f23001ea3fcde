//! What came of a step.

use crate::decode::Limit;
use crate::policy::{LeaseId, Property};

/// What came of one step: for the journal, the metrics and `LimitChanged`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// The unit.
    pub unit: String,
    /// The step's name, as in the report's `strategies`.
    pub action: &'static str,
    /// The lease concerned.
    pub lease: Option<LeaseId>,
    /// The limit concerned.
    pub property: Option<Property>,
    /// Its value before.
    pub old: Option<Limit>,
    /// Its value now.
    pub new: Option<Limit>,
    /// Why, in words.
    pub reason: String,
    /// How it went.
    pub result: StepResult,
    /// How long the steps of the reaction took; only where a limit was changed on the reaction path.
    pub timings: Option<Timings>,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "detail")]
pub enum StepResult {
    /// The limit has the value wanted.
    Done,
    /// The limit had the value already; now systemd agrees.
    Confirmed,
    /// A dry run: nothing was changed.
    DryRun,
    /// Not done, with the reason; nothing is wrong.
    Skipped(String),
    /// The unit or its cgroup is gone: nothing to do.
    Gone,
    /// Not done, or not yet, and what was tried. The lease tells whether it is tried again.
    Failed(String),
}

impl StepResult {
    /// The name used as the metrics' `result` label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Confirmed => "confirmed",
            Self::DryRun => "dry_run",
            Self::Skipped(_) => "skipped",
            Self::Gone => "gone",
            Self::Failed(_) => "failed",
        }
    }
}

/// How long the steps of a reaction took, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Timings {
    /// From the call to the lease being on record.
    pub recorded_ns: u64,
    /// From the call to the limit being in force.
    pub written_ns: u64,
}

impl Outcome {
    /// A limit has actually another value than before.
    pub fn changed(&self) -> bool {
        self.result == StepResult::Done && self.old != self.new && self.new.is_some()
    }
}
