//! Alarms that are on: raised at the first page, cleared when the unit has been quiet and is free of leases.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    decode::rfc3339,
    export::json::report::AlarmField,
    policy::{AlarmKind, MonoTime, Severity},
};

/// Between two answers to the same alarm: a storm that cannot be stopped must not keep the agent busy.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// One alarm that is on.
#[derive(Clone, Debug)]
pub(super) struct Alarm {
    /// Names it on D-Bus; never used twice.
    pub(super) id: String,
    /// About which unit.
    pub(super) unit: Arc<str>,
    /// Why it was raised, in words.
    pub(super) reason: String,
    /// The tagged region that was hit first; `None` if it is about the unit as a whole.
    pub(super) region: Option<Arc<str>>,
    /// When it was raised.
    pub(super) since: MonoTime,
    /// How bad it is.
    pub(super) severity: Severity,
    /// The last page of the unit that went out.
    pub(super) last_page: MonoTime,
    /// When the policy was last asked about it.
    pub(super) last_answer: MonoTime,
    /// Pages since it was raised, those without a record of their own included.
    pub(super) pages: u64,
}

impl Alarm {
    /// As documents show it; `offset` is the distance between the clocks.
    pub(super) fn field(&self, offset: i128) -> AlarmField {
        AlarmField {
            id: self.id.clone(),
            kind: AlarmKind::SwapOut,
            unit: self.unit.to_string(),
            severity: self.severity.as_str(),
            reason: self.reason.clone(),
            since: rfc3339(self.since.0, offset),
            pages: self.pages,
            region: self.region.as_ref().map(ToString::to_string),
        }
    }
}

/// What is said when an alarm is raised.
#[derive(Clone, Debug)]
pub(super) struct Raising<'a> {
    pub(super) severity: Severity,
    pub(super) reason: &'a str,
    pub(super) region: Option<Arc<str>>,
    pub(super) pages: u64,
}

/// All alarms that are on, by unit.
#[derive(Debug)]
pub(super) struct Alarms {
    /// Tells the alarms of this agent from those of an earlier one.
    started: MonoTime,
    raised: u64,
    on: BTreeMap<Arc<str>, Alarm>,
    /// Pages of a unit that earlier alarms, now over, were about. Only critical units are in here.
    accounted: BTreeMap<Arc<str>, u64>,
}

impl Alarms {
    /// None yet, of an agent that started at `started`.
    pub(super) fn new(started: MonoTime) -> Self {
        Self {
            started,
            raised: 0,
            on: BTreeMap::new(),
            accounted: BTreeMap::new(),
        }
    }

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

    /// Raises the alarm of a unit and returns its id; `None` if it is on already.
    pub(super) fn raise(&mut self, unit: &Arc<str>, raising: &Raising<'_>, now: MonoTime) -> Option<String> {
        if let Some(alarm) = self.on.get_mut(unit) {
            alarm.severity = alarm.severity.max(raising.severity);
            return None;
        }
        self.raised += 1;
        let id = format!("{:x}-{}", self.started.0, self.raised);
        let alarm = Alarm {
            id: id.clone(),
            unit: Arc::clone(unit),
            reason: raising.reason.to_owned(),
            region: raising.region.clone(),
            since: now,
            severity: raising.severity,
            last_page: now,
            last_answer: now,
            pages: raising.pages,
        };
        self.on.insert(Arc::clone(unit), alarm);
        Some(id)
    }

    /// A region was hit: an alarm that is on and names none yet is about this one.
    pub(super) fn name_region(&mut self, unit: &str, label: &Arc<str>) {
        if let Some(alarm) = self.on.get_mut(unit) {
            alarm.region.get_or_insert_with(|| Arc::clone(label));
        }
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

    /// Those that are on.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.on.values()
    }

    pub(super) fn units(&self) -> impl Iterator<Item = &Arc<str>> {
        self.on.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.on.is_empty()
    }
}
