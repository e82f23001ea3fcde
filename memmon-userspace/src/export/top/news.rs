//! What a new report or a signal tells that the one before did not: the event stream.

use std::collections::BTreeSet;

use super::{
    document::{Agent, Alarm, Blame, Report, Severity},
    events::{Events, Weight},
    model::Moment,
    text::{self, Clean},
};
use crate::export::dbus::Heard;

/// Pairs of victim and culprit that one report adds to the stream: those with most pages.
const PAIRS: usize = 5;

/// What has been told already.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Alarms that are on.
    alarms: BTreeSet<Clean>,
}

impl News {
    /// Forgets the alarms of an agent that is gone.
    pub(super) fn new_agent(&mut self) {
        self.alarms.clear();
    }

    /// Adds what differs from `before`, the last report of the same agent.
    pub(super) fn report(
        &mut self,
        before: Option<&Report>,
        report: &Report,
        now: &Moment,
        events: &mut Events,
    ) {
        if let Some(before) = before {
            changed(before, report, now, events);
            swapped(before, report, now, events);
        }
        let Some(alarms) = &report.alarms else { return };
        for alarm in alarms {
            if self.alarms.insert(alarm.id.clone()) {
                events.push(now, Weight::Alarm, raised(alarm));
            }
        }
        let on: BTreeSet<&Clean> = alarms.iter().map(|alarm| &alarm.id).collect();
        let over: Vec<Clean> = self
            .alarms
            .iter()
            .filter(|id| !on.contains(id))
            .cloned()
            .collect();
        for id in over {
            // Its unit is in the report before, if it ever was in one.
            let unit = before.and_then(|before| {
                let alarm = before.alarms.iter().flatten().find(|alarm| alarm.id == id)?;
                Some(alarm.unit.clone())
            });
            self.over(&id, unit.as_ref(), now, events);
        }
    }

    /// Adds a signal; `last` is the last report.
    pub(super) fn signal(&mut self, heard: &Heard, last: Option<&Report>, now: &Moment, events: &mut Events) {
        match heard {
            Heard::AlarmRaised {
                id,
                unit,
                severity,
                reason,
            } => {
                if self.alarms.insert(Clean::new(id)) {
                    let text = alarm_text(Severity::of(severity), &Clean::new(unit), &Clean::new(reason));
                    events.push(now, Weight::Alarm, text);
                }
            }
            Heard::AlarmCleared { id } => {
                let id = Clean::new(id);
                let alarm = last.and_then(|last| last.alarms.iter().flatten().find(|alarm| alarm.id == id));
                self.over(&id, alarm.map(|alarm| &alarm.unit), now, events);
            }
            Heard::LimitChanged {
                unit,
                property,
                old,
                new,
                reason,
            } => {
                let [unit, property, reason] = [unit, property, reason].map(|text| Clean::new(text));
                let text = format!(
                    "{} of {}: {} -> {}: {}",
                    property.as_str(),
                    unit.as_str(),
                    limit(*old),
                    limit(*new),
                    reason.as_str()
                );
                events.push(now, Weight::Notable, text);
            }
            Heard::ReleaseRequested { unit, bytes } => {
                let unit = Clean::new(unit);
                let text = format!("{} was asked to release {}", unit.as_str(), text::size(*bytes));
                events.push(now, Weight::Notable, text);
            }
        }
    }

    fn over(&mut self, id: &Clean, unit: Option<&Clean>, now: &Moment, events: &mut Events) {
        if self.alarms.remove(id) {
            let unit = unit.unwrap_or(id);
            events.push(now, Weight::Notable, format!("alarm over: {}", unit.as_str()));
        }
    }
}

fn raised(alarm: &Alarm) -> String {
    alarm_text(alarm.severity, &alarm.unit, &alarm.reason)
}

fn alarm_text(severity: Severity, unit: &Clean, reason: &Clean) -> String {
    format!(
        "ALARM {} {}: {}",
        severity.as_str(),
        unit.as_str(),
        reason.as_str()
    )
}

/// systemd's way of writing a limit as a number.
fn limit(value: u64) -> String {
    if value == u64::MAX {
        "max".to_owned()
    } else {
        text::size(value)
    }
}

fn changed(before: &Report, report: &Report, now: &Moment, events: &mut Events) {
    let (was, is) = (&before.system, &report.system);
    if was.situation != is.situation {
        let text = format!(
            "situation {}, was {}: RAM used {}",
            is.situation.as_str(),
            was.situation.as_str(),
            text::percent(is.ram_used)
        );
        events.push(now, Weight::Notable, text);
    }
    if was.swap_high != is.swap_high {
        let how = if is.swap_high { "high" } else { "no longer high" };
        let used = is.swap_used.map_or_else(|| "n/a".to_owned(), text::percent);
        events.push(now, Weight::Notable, format!("swap {how}: {used} used"));
    }
    let known = |agent: &Option<Agent>| {
        agent
            .as_ref()
            .map(|agent| agent.degraded.clone())
            .unwrap_or_default()
    };
    let old = known(&before.agent);
    for reason in known(&report.agent).iter().filter(|reason| !old.contains(reason)) {
        events.push(now, Weight::Notable, format!("degraded: {}", reason.as_str()));
    }
}

fn swapped(before: &Report, report: &Report, now: &Moment, events: &mut Events) {
    let old: std::collections::BTreeMap<_, u64> = before
        .blame
        .iter()
        .flatten()
        .map(|blame| (blame.key(), blame.pages))
        .collect();
    let mut gains: Vec<(u64, &Blame)> = report
        .blame
        .iter()
        .flatten()
        .filter_map(|blame| {
            let gain = blame
                .pages
                .checked_sub(old.get(&blame.key()).copied().unwrap_or(0))?;
            (gain > 0).then_some((gain, blame))
        })
        .collect();
    gains.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.key().cmp(&other.key())));
    // The one with most pages is to be on top.
    for (pages, blame) in gains.into_iter().take(PAIRS).rev() {
        let what = format!("of {} by {}", blame.victim.as_str(), blame.culprit());
        events.swapped(now, pages, what);
    }
}

impl Blame {
    /// Who pushed the pages out.
    pub(super) fn by(&self) -> &str {
        match &self.reclaimer {
            None if self.kind.as_str() == "kswapd" => "kswapd",
            None => "an unknown task",
            Some(unit) => unit.as_str(),
        }
    }

    /// Who pushed the pages out, and on what occasion.
    pub(super) fn culprit(&self) -> String {
        match self.kind.as_str() {
            "kswapd" if self.reclaimer.is_none() => self.by().to_owned(),
            kind => format!("{} ({kind})", self.by()),
        }
    }
}
