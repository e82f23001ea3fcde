//! What the agent tells the journal.

use super::{Agent, alarms::Alarm, now, regions::Hit};
use crate::{
    action::{Outcome, StepResult},
    attribute::Attributed,
    config::Priority,
    decode::Limit,
    export::{
        alerts::Alert,
        dbus::{Details, Signal},
        journal::{Entry, Message},
    },
    policy::{AlarmKind, Decision},
};

/// systemd's way of writing a limit.
fn value(limit: Option<Limit>) -> Option<String> {
    limit.map(|limit| match limit {
        Limit::Max => "infinity".to_owned(),
        Limit::Bytes(bytes) => bytes.to_string(),
    })
}

impl Agent {
    /// One journal entry for each limit that changed, should have, or was left to somebody else.
    pub(super) fn tell(&mut self, outcomes: &[Outcome]) {
        self.counters.note(outcomes);
        for outcome in outcomes {
            if let Some((message, verb)) = message(outcome) {
                self.tell_one(outcome, message, verb);
            }
        }
    }

    fn tell_one(&mut self, outcome: &Outcome, message: Message, verb: &str) {
        let (old, new) = (value(outcome.old), value(outcome.new));
        let property = outcome.property.map(|property| property.as_str());
        let detail = match &outcome.result {
            StepResult::Skipped(why) | StepResult::Failed(why) => format!(": {why}"),
            StepResult::Gone => ": the unit is gone".to_owned(),
            StepResult::Done | StepResult::Confirmed | StepResult::DryRun => String::new(),
        };
        let text = format!(
            "{verb} {} of {} ({} -> {}){detail}; {}",
            property.unwrap_or("limits"),
            outcome.unit,
            old.as_deref().unwrap_or("?"),
            new.as_deref().unwrap_or("?"),
            outcome.reason
        );
        if let (true, Some(property), Some(old), Some(new)) =
            (outcome.changed(), outcome.property, outcome.old, outcome.new)
        {
            self.signal(Signal::LimitChanged {
                unit: outcome.unit.clone(),
                property,
                old,
                new,
                reason: outcome.reason.clone(),
            });
        }
        self.chronicle.outcome(&outcome.unit, text.clone());
        let priority = self.priority_of(&outcome.unit);
        self.journal.write(&Entry {
            unit: Some(&outcome.unit),
            priority: Some(priority),
            property,
            old: old.as_deref(),
            new: new.as_deref(),
            reason: Some(&outcome.reason),
            ..Entry::new(message, &text)
        });
    }

    pub(super) fn tell_alarm(
        &mut self,
        id: String,
        decision: &Decision,
        event: &Attributed,
        region: Option<&Hit>,
    ) {
        let Some(alarm) = &decision.alarm else { return };
        let reclaimer = event.reclaimer.unit.as_deref().unwrap_or(&event.reclaimer.comm);
        let plan: Vec<String> = decision
            .actions
            .iter()
            .map(|planned| format!("{}: {}", planned.action.as_str(), planned.reason))
            .collect();
        let text = format!("ALARM {}: {}", alarm.severity.as_str(), alarm.reason);
        let reason = format!("{}; {}", alarm.reason, plan.join("; "));
        self.chronicle.alarm(&decision.unit, reason.clone(), true);
        self.journal.write(&Entry {
            unit: Some(&decision.unit),
            priority: Some(event.priority),
            pages: Some(event.pages + event.suppressed_pages),
            reclaimer: Some(reclaimer),
            reclaim_kind: Some(event.reclaimer.kind.as_str()),
            reason: Some(&reason),
            region: region.map(|hit| &*hit.label),
            pid: region.map(|hit| hit.pid),
            address: region.map(|hit| hit.address),
            ..Entry::new(Message::AlarmRaised, &text)
        });
        let pages = event.pages + event.suppressed_pages;
        self.deliver_alarm(Alert {
            id: id.clone(),
            kind: AlarmKind::SwapOut,
            resource: None,
            unit: decision.unit.clone(),
            severity: alarm.severity,
            reason,
            pages,
            since: now(),
            over: None,
        });
        self.signal(Signal::AlarmRaised {
            id,
            unit: decision.unit.clone(),
            severity: alarm.severity,
            reason: alarm.reason.clone(),
            details: Details {
                pages,
                priority: event.priority.to_string(),
                cgroup: decision.cgroup.starts_with('/').then(|| decision.cgroup.clone()),
                kind: event.reclaimer.kind.as_str().to_owned(),
                reclaimer: reclaimer.to_owned(),
                plan,
                region: region.map(|hit| hit.label.to_string()),
                outlook: None,
            },
        });
    }

    pub(super) fn tell_cleared(&mut self, alarm: &Alarm, priority: Priority, pages: u64) {
        let text = format!(
            "alarm {} of {} is over: {pages} pages went to swap while it was on",
            alarm.severity.as_str(),
            alarm.unit
        );
        self.chronicle.alarm(&alarm.unit, text.clone(), false);
        self.journal.write(&Entry {
            unit: Some(&alarm.unit),
            priority: Some(priority),
            pages: Some(pages),
            region: alarm.region.as_deref(),
            ..Entry::new(Message::AlarmCleared, &text)
        });
        self.deliver_end(&alarm.id, pages);
        self.signal(Signal::AlarmCleared { id: alarm.id.clone() });
    }

    /// Has a signal sent. Nobody waits for the bus: what finds no room is lost, which those who listen can tell
    /// from the report.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = self.outside.signals.try_send(signal) {
            tracing::debug!("a signal is lost: {error}");
        }
    }

    pub(super) fn tell_plain(&mut self, message: Message, text: &str) {
        self.journal.write(&Entry::new(message, text));
    }
}

/// Which message an outcome is, and its first words; `None` if there is nothing to tell.
fn message(outcome: &Outcome) -> Option<(Message, &'static str)> {
    Some(match (&outcome.result, outcome.action) {
        (StepResult::Done, "revert") => (Message::LimitReverted, "put back"),
        (StepResult::Done, _) => (Message::LimitChanged, "changed"),
        (StepResult::DryRun, "revert") => (Message::LimitReverted, "would put back (dry run)"),
        (StepResult::DryRun, _) => (Message::LimitChanged, "would change (dry run)"),
        (StepResult::Failed(_), "revert") => (Message::LimitFailed, "could not put back"),
        (StepResult::Failed(_), _) => (Message::LimitFailed, "could not change"),
        (StepResult::Skipped(_), "revert") => (Message::LeaseKept, "left alone"),
        (StepResult::Gone, "revert") => (Message::LimitReverted, "lease ended on"),
        // The change itself was told when the cgroup file took it.
        (StepResult::Confirmed, _) => return None,
        // The alarm's own entry says why nothing was done.
        (StepResult::Skipped(_) | StepResult::Gone, _) => return None,
    })
}
