//! What is remembered from one decision about the host to the next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Rules, Strategy, StrategyAction, relieve};
use crate::policy::host::HostSnapshot;
use crate::policy::{MonoTime, Situation, SituationState};

/// The budget's minute.
const MINUTE: Duration = Duration::from_secs(60);
/// The proactive ceiling's day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A process that was asked is not asked again before.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// The pause after a step that did not help doubles at most so often: 64 times the cool-down.
const MOST_DOUBLINGS: u32 = 6;

/// What is remembered from one decision about the host to the next.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StrategyState {
    /// The situation.
    pub situation: SituationState,
    /// When a unit was last asked to release memory, in this episode of shortage.
    asked: BTreeMap<String, MonoTime>,
    /// The last try of each step on each unit.
    #[serde(with = "tries")]
    tried: BTreeMap<(String, StrategyAction), Tried>,
    /// When steps that take memory were begun, within the last minute.
    recent: VecDeque<MonoTime>,
    /// A limit pushes out pages that are to stay, and others make room below it.
    #[serde(default)]
    relieving: bool,
    /// When the day of the proactive ceiling began, and bytes taken in it.
    taken_ahead: (MonoTime, u64),
}

/// The last try of one step on one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tried {
    /// When it was begun.
    pub at: MonoTime,
    /// It has not ended yet.
    pub running: bool,
    /// Tries in a row that did not help.
    pub useless: u32,
}

/// Whether a step may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Yes.
    Ready,
    /// Not so soon after the last one, which helped: its turn comes again.
    CoolingDown,
    /// The last ones did not help: somebody else's turn.
    BackedOff,
}

impl StrategyState {
    /// Takes in what was measured; call it once per snapshot, before deciding.
    pub fn observe(&mut self, snapshot: &HostSnapshot, rules: &Rules<'_>, now: MonoTime) {
        self.situation = self.situation.next(snapshot, rules.thresholds, now);
        while self.recent.front().is_some_and(|at| now.since(*at) >= MINUTE) {
            self.recent.pop_front();
        }
        if now.since(self.taken_ahead.0) >= DAY {
            self.taken_ahead = (now, 0);
        }
        self.relieving =
            self.situation.ram < Situation::Critical && !relieve::pressed(snapshot, rules, now).is_empty();
        if self.situation.ram == Situation::Normal && !self.relieving && !rules.proactive.enabled {
            self.asked.clear();
        } else {
            self.asked.retain(|_, at| now.since(*at) < ASK_AGAIN);
        }
        let forget = rules.strategies.cool_down.saturating_mul(2 << MOST_DOUBLINGS);
        self.tried
            .retain(|_, tried| tried.running || now.since(tried.at) < forget);
    }

    /// A step has been begun.
    pub fn begun(&mut self, strategy: &Strategy, now: MonoTime) {
        let Some(unit) = strategy.unit.clone() else { return };
        if strategy.takes() {
            self.recent.push_back(now);
        }
        if strategy.action == StrategyAction::ReleaseRequest {
            self.asked.insert(unit.clone(), now);
        } else if strategy.takes() && self.is_ahead() {
            self.taken_ahead.1 = self.taken_ahead.1.saturating_add(strategy.amount.unwrap_or(0));
        }
        let useless = self
            .tried
            .get(&(unit.clone(), strategy.action))
            .map_or(0, |tried| tried.useless);
        let running = !matches!(
            strategy.action,
            StrategyAction::ReleaseRequest | StrategyAction::Protect | StrategyAction::Freeze
        );
        let tried = Tried {
            at: now,
            running,
            useless,
        };
        self.tried.insert((unit, strategy.action), tried);
    }

    /// What is taken now is taken before there is any need.
    pub fn is_ahead(&self) -> bool {
        self.situation.ram == Situation::Normal && !self.relieving
    }

    /// A step has ended and gained so many bytes. It helped if that is an eighth of what was asked for.
    pub fn ended(&mut self, unit: &str, action: StrategyAction, asked: u64, gained: u64, now: MonoTime) {
        let tried = self.tried.entry((unit.to_owned(), action)).or_insert(Tried {
            at: now,
            running: false,
            useless: 0,
        });
        tried.running = false;
        tried.at = now;
        tried.useless = if gained >= (asked / 8).max(1) {
            0
        } else {
            tried.useless.saturating_add(1)
        };
    }

    /// When `unit` was asked to release memory, if it was.
    pub(super) fn asked(&self, unit: &str) -> Option<MonoTime> {
        self.asked.get(unit).copied()
    }

    /// Steps that may still be begun within this minute.
    pub(super) fn budget(&self, rules: &Rules<'_>) -> usize {
        (rules.strategies.actions_per_minute as usize).saturating_sub(self.recent.len())
    }

    /// Bytes that may still be taken ahead of need today.
    pub(super) fn left_today(&self, rules: &Rules<'_>) -> u64 {
        rules.proactive.daily.0.saturating_sub(self.taken_ahead.1)
    }

    pub(super) fn readiness(
        &self,
        unit: &str,
        action: StrategyAction,
        rules: &Rules<'_>,
        now: MonoTime,
    ) -> Readiness {
        let Some(tried) = self.tried.get(&(unit.to_owned(), action)) else {
            return Readiness::Ready;
        };
        let doublings = tried.useless.min(MOST_DOUBLINGS);
        let pause = rules.strategies.cool_down.saturating_mul(1 << doublings);
        match (tried.running || now.since(tried.at) < pause, tried.useless) {
            (false, _) => Readiness::Ready,
            (true, 0) => Readiness::CoolingDown,
            (true, _) => Readiness::BackedOff,
        }
    }

    /// When a grace period or a cool-down ends, if one is on: somebody has to decide again then.
    pub fn look_again(&self, rules: &Rules<'_>, now: MonoTime) -> Option<MonoTime> {
        let graces = self.asked.values().map(|at| at.after(rules.strategies.grace));
        let pauses = self.tried.values().filter(|tried| !tried.running).map(|tried| {
            let doublings = tried.useless.min(MOST_DOUBLINGS);
            tried
                .at
                .after(rules.strategies.cool_down.saturating_mul(1 << doublings))
        });
        let busy = self.situation.ram > Situation::Normal || self.situation.swap_high || self.relieving;
        let situation = self.situation.look_again(rules.thresholds, now);
        graces
            .chain(pauses)
            .filter(|at| busy && *at > now)
            .chain(situation)
            .min()
    }
}

/// JSON has no pairs as keys.
mod tries {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{StrategyAction, Tried};

    type Tries = BTreeMap<(String, StrategyAction), Tried>;

    pub(super) fn serialize<S: Serializer>(tries: &Tries, serializer: S) -> Result<S::Ok, S::Error> {
        tries.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tries, D::Error> {
        let rows = Vec::<((String, StrategyAction), Tried)>::deserialize(deserializer)?;
        Ok(rows.into_iter().collect())
    }
}
