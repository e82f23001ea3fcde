//! Alarms that are on: raised at the first page, cleared when the unit has been quiet and is free of leases.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::policy::{MonoTime, Severity};

/// Between two answers to the same alarm: a storm that cannot be stopped must not keep the agent busy.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// One alarm that is on.
#[derive(Clone, Debug)]
pub(super) struct Alarm {
    /// How bad it is.
    pub(super) severity: Severity,
    /// The last page of the unit that went out.
    pub(super) last_page: MonoTime,
    /// When the policy was last asked about it.
    pub(super) last_answer: MonoTime,
    /// Pages since it was raised, those without a record of their own included.
    pub(super) pages: u64,
}

/// All alarms that are on, by unit.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    on: BTreeMap<Arc<str>, Alarm>,
    /// Pages of a unit that earlier alarms, now over, were about. Only critical units are in here.
    accounted: BTreeMap<Arc<str>, u64>,
}

impl Alarms {
    /// Counts pages of a unit; `true` if it is time to ask the policy (again).
    pub(super) fn count(&mut self, unit: &str, pages: u64, now: MonoTime) -> bool {
        match self.on.get_mut(unit) {
            None => true,
            Some(alarm) => {
                alarm.pages += pages;
                alarm.last_page = now;
                let due = now.since(alarm.last_answer) >= AGAIN_AFTER;
                if due {
                    alarm.last_answer = now;
                }
                due
            }
        }
    }

    /// Raises the alarm of a unit; `false` if it is on already.
    pub(super) fn raise(&mut self, unit: &Arc<str>, severity: Severity, pages: u64, now: MonoTime) -> bool {
        if let Some(alarm) = self.on.get_mut(unit) {
            alarm.severity = alarm.severity.max(severity);
            return false;
        }
        self.on.insert(
            Arc::clone(unit),
            Alarm {
                severity,
                last_page: now,
                last_answer: now,
                pages,
            },
        );
        true
    }

    /// Takes the alarms that `over` says are over.
    pub(super) fn clear(&mut self, mut over: impl FnMut(&str, &Alarm) -> bool) -> Vec<(Arc<str>, Alarm)> {
        let ended: Vec<Arc<str>> = self
            .on
            .iter()
            .filter(|(unit, alarm)| over(unit, alarm))
            .map(|(unit, _)| Arc::clone(unit))
            .collect();
        ended
            .into_iter()
            .filter_map(|unit| self.on.remove_entry(&unit))
            .collect()
    }

    /// Of all pages of a unit, those that no earlier alarm was about. Every page of a critical unit falls into
    /// an alarm, so what came since the last one is this one's.
    pub(super) fn account(&mut self, unit: &Arc<str>, total: u64) -> u64 {
        let before = self.accounted.insert(Arc::clone(unit), total).unwrap_or(0);
        total.saturating_sub(before)
    }

    pub(super) fn units(&self) -> impl Iterator<Item = &Arc<str>> {
        self.on.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.on.is_empty()
    }
}
