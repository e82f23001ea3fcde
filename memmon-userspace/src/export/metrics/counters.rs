//! What only the agent itself can count: what it did, and how fast.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Action, Histogram};
use crate::{action::Outcome, attribute::LabelSet};

/// Units with counts of their own; steps for further ones count into `other`.
const UNITS: usize = 1_000;

/// Steps and reaction times since the agent started.
#[derive(Debug)]
pub struct Counters {
    labels: LabelSet,
    actions: BTreeMap<Action, u64>,
    reaction: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            labels: LabelSet::new(UNITS),
            actions: BTreeMap::new(),
            reaction: Histogram::default(),
        }
    }
}

impl Counters {
    /// Counts steps. A review that leaves everything as it is is no step.
    pub fn note<'a>(&mut self, outcomes: impl IntoIterator<Item = &'a Outcome>) {
        for outcome in outcomes {
            let action = Action {
                unit: self.labels.label(&Arc::from(outcome.unit.as_str())),
                action: outcome.action,
                result: outcome.result.as_str(),
            };
            *self.actions.entry(action).or_default() += 1;
        }
    }

    /// Counts one reaction: from the kernel's timestamp of the page to the limit in force.
    pub fn note_reaction(&mut self, time: Duration) {
        self.reaction.observe(time);
    }

    /// Steps so far.
    pub const fn actions(&self) -> &BTreeMap<Action, u64> {
        &self.actions
    }

    /// Reaction times so far.
    pub const fn reaction(&self) -> &Histogram {
        &self.reaction
    }
}
