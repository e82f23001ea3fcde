//! What to do about the host: one pure function, `(HostSnapshot, Rules, StrategyState, now) -> ranked strategies`.
//!
//! The reflex answers a page; this is the judgement. The order is the rank: protect critical units, bring them
//! back, make room below the limits that push them out, then take from the others, those of priority low first.

mod bring_back;
mod ease;
mod grants;
mod ledger;
mod proactive;
mod protect;
mod reduce;
mod relieve;
mod rules;
mod state;

pub use rules::Rules;
pub use state::{StrategyState, Tried};

use ledger::Ledger;

use super::host::HostSnapshot;
use super::{LeaseId, LimitChange, MonoTime, Situation, SituationState};

/// What should happen, ranked, with the situation it answers.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HostDecision {
    /// The situation.
    pub situation: SituationState,
    /// What to do, most important first; never empty: doing nothing is a strategy with its reason.
    pub strategies: Vec<Strategy>,
}

/// One step about one unit, with its reason.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Strategy {
    /// The step.
    pub action: StrategyAction,
    /// About which unit; `None` if about none in particular.
    pub unit: Option<String>,
    /// Path and inode of its cgroup: who acts must find the same one there.
    pub cgroup: Option<(String, u64)>,
    /// Bytes; `None` where the action has no amount.
    pub amount: Option<u64>,
    /// What is acted upon.
    pub target: Target,
    /// Why, in one sentence.
    pub reason: String,
}

impl Strategy {
    /// It takes memory from a unit, and counts against the budget.
    pub fn takes(&self) -> bool {
        self.target != Target::Advice && self.action.takes()
    }
}

/// The steps; the names are those of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyAction {
    /// Stop a critical unit from being swapped, or spare it from reclaim.
    Protect,
    /// A critical unit should lock its most important memory itself.
    LockRequest,
    /// Ask a process to release memory.
    ReleaseRequest,
    /// Take clean file cache.
    ReclaimCache,
    /// Page anonymous memory out to a disk.
    PageOut,
    /// Page anonymous memory out to swap that keeps it compressed in RAM.
    Compress,
    /// No more of a critical unit may go to swap than is there.
    Freeze,
    /// Raise a finite `MemoryHigh`.
    RaiseHigh,
    /// Read a critical unit's pages back from swap.
    BringBack,
    /// End a lease.
    Revert,
    /// Nothing.
    None,
}

impl StrategyAction {
    /// The name used in JSON, metrics and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protect => "protect",
            Self::LockRequest => "lock_request",
            Self::ReleaseRequest => "release_request",
            Self::ReclaimCache => "reclaim_cache",
            Self::PageOut => "page_out",
            Self::Compress => "compress",
            Self::Freeze => "freeze",
            Self::RaiseHigh => "raise_high",
            Self::BringBack => "bring_back",
            Self::Revert => "revert",
            Self::None => "none",
        }
    }

    /// It takes memory from a unit.
    pub(super) const fn takes(self) -> bool {
        matches!(
            self,
            Self::ReleaseRequest | Self::ReclaimCache | Self::PageOut | Self::Compress
        )
    }
}

/// What a strategy acts upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A limit, on a lease.
    Limit(LimitChange),
    /// `memory.reclaim`, with this `swappiness=` if any.
    Reclaim {
        /// 0 takes file cache alone, 200 anonymous memory first; `None`: the kernel decides.
        swappiness: Option<u8>,
    },
    /// A lease.
    Lease(LeaseId),
    /// The unit's processes.
    Processes,
    /// Nothing that memmon changes: advice for people.
    Advice,
}

/// Decides about the host. The state must have [observed](StrategyState::observe) the snapshot.
pub fn strategies(
    snapshot: &HostSnapshot,
    rules: &Rules<'_>,
    state: &StrategyState,
    now: MonoTime,
) -> HostDecision {
    let situation = state.situation;
    let mut ledger = Ledger::new(snapshot, rules, state, now);
    if situation.ram == Situation::Normal {
        ease::expired(&mut ledger);
    } else {
        protect::critical_units(&mut ledger, situation.ram);
    }
    if situation.swap_high {
        bring_back::critical_units(&mut ledger, situation.ram);
    }
    // When RAM is critical everybody is taken from, wherever they are.
    let relieving = situation.ram < Situation::Critical && relieve::below_limits(&mut ledger);
    match situation.ram {
        Situation::Critical => reduce::critical(&mut ledger),
        Situation::High => reduce::high(&mut ledger),
        Situation::Normal if relieving => {}
        Situation::Normal => proactive::gently(&mut ledger),
    }
    HostDecision {
        situation,
        strategies: ledger.finish(),
    }
}

#[cfg(test)]
mod tests;
