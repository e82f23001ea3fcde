//! What a new report or a signal tells that the one before did not: the event stream.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    document::{Agent, Alarm, Blame, Report, Severity},
    events::{Events, Weight},
    model::Moment,
    text::{self, Clean},
};
use crate::export::dbus::Heard;

/// Pairs of victim and culprit that one report adds to the stream: those with most pages.
const PAIRS: usize = 5;

/// Reports without an alarm after which it is over. One may have been on its way already when the signal came.
const MISSED: u32 = 2;
/// Alarms that are remembered as over.
const OVER: usize = 1000;

/// What has been told already.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Alarms that are on.
    alarms: BTreeMap<Clean, On>,
    /// Alarms that are over: a report that was on its way may have them still, and ids are never used twice.
    over: BTreeSet<Clean>,
}

/// An alarm that is on.
#[derive(Debug)]
struct On {
    unit: Clean,
    /// How many reports in a row have not had it.
    missed: u32,
}

impl News {
    /// Forgets the alarms of an agent that is gone.
    pub(super) fn new_agent(&mut self) {
        *self = Self::default();
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
            if self.is_new(&alarm.id, &alarm.unit) {
                events.push(now, Weight::Alarm, raised(alarm));
            }
        }
        let mut over = Vec::new();
        for (id, on) in &mut self.alarms {
            let there = alarms.iter().any(|alarm| alarm.id == *id);
            on.missed = if there { 0 } else { on.missed + 1 };
            if on.missed >= MISSED {
                over.push(id.clone());
            }
        }
        for id in over {
            self.over(&id, now, events);
        }
    }

    /// Adds a signal.
    pub(super) fn signal(&mut self, heard: &Heard, now: &Moment, events: &mut Events) {
        match heard {
            Heard::AlarmRaised {
                id,
                unit,
                severity,
                reason,
            } => {
                let unit = Clean::new(unit);
                if self.is_new(&Clean::new(id), &unit) {
                    let text = alarm_text(Severity::of(severity), &unit, &Clean::new(reason));
                    events.push(now, Weight::Alarm, text);
                }
            }
            Heard::AlarmCleared { id } => self.over(&Clean::new(id), now, events),
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

    /// Whether an alarm has not been told yet; it is on from now on.
    fn is_new(&mut self, id: &Clean, unit: &Clean) -> bool {
        let unit = unit.clone();
        !self.over.contains(id) && self.alarms.insert(id.clone(), On { unit, missed: 0 }).is_none()
    }

    fn over(&mut self, id: &Clean, now: &Moment, events: &mut Events) {
        if self.over.len() >= OVER {
            self.over.clear();
        }
        self.over.insert(id.clone());
        if let Some(on) = self.alarms.remove(id) {
            let text = format!("alarm over: {}", on.unit.as_str());
            events.push(now, Weight::Notable, text);
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
    let old: BTreeMap<_, u64> = before
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
