//! Looking again, as long as something is on: leases that may end, alarms that may clear.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Agent, now};
use crate::{config::Priority, policy::MonoTime};

impl Agent {
    pub(super) fn review_in(&mut self, pause: Duration) {
        let at = now().after(pause);
        self.next_review = Some(self.next_review.map_or(at, |review| review.min(at)));
    }

    pub(super) fn review_if_due(&mut self) {
        if self.next_review.is_none_or(|review| now() < review) {
            return;
        }
        self.next_review = None;
        // Alarms that are over clear when the reading has come, with all of their pages counted.
        self.outside.want_counts();
        let units = self.units_of_concern();
        for unit in &units {
            self.review(unit);
        }
        self.bring_back();
        let leases = self
            .hands
            .as_ref()
            .is_some_and(|hands| hands.executor.leases().next().is_some());
        if leases || !self.alarms.is_empty() {
            self.review_in(self.options.interval);
        }
    }

    pub(super) fn review(&mut self, unit: &Arc<str>) {
        let Some(decision) = self.ask_again(unit) else {
            return;
        };
        if let Some(hands) = &mut self.hands {
            let outcomes = hands
                .executor
                .execute(&decision, self.config.reaction.on_critical_swap);
            // A review that leaves all as it is would otherwise be told every few seconds.
            let told: Vec<_> = outcomes
                .into_iter()
                .filter(|outcome| outcome.lease.is_some())
                .collect();
            self.tell(&told);
        }
    }

    /// Clears the alarms that were over at `counted`, when the counters were read that the sums stand for now.
    pub(super) fn clear_alarms(&mut self, counted: MonoTime) {
        let hold = self.config.reaction.hold;
        let leased: BTreeSet<String> = self
            .hands
            .as_ref()
            .map(|hands| hands.executor.leases().map(|lease| lease.unit.clone()).collect())
            .unwrap_or_default();
        let over = self
            .alarms
            .clear(|unit, alarm| counted.since(alarm.last_page) >= hold && !leased.contains(unit));
        for (unit, alarm) in over {
            // Of a unit that is not critical only pages of tagged regions count.
            let critical = self.priority_of(&unit) == Priority::Critical;
            let total = self.sums.out.pages_of(&unit).filter(|_| critical);
            let pages = total.map_or(alarm.pages, |total| self.alarms.account(&unit, total));
            self.bringing.give_up(&unit);
            self.tell_cleared(&alarm, self.priority_of(&unit), pages);
            self.states.remove(&unit);
            if let Some(hands) = &mut self.hands {
                hands.executor.forget_theirs(&unit);
            }
        }
    }
}
