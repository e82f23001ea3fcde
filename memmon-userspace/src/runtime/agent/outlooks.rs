//! Alarms about what will be used up: raised and cleared by the forecasts that the history's thread makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::Agent;
use crate::{
    config::Priority,
    decode::rfc3339,
    export::{
        alerts::Alert,
        dbus::{Details, OutlookDetails, Signal},
        journal::{Entry, Message},
        json::report::AlarmField,
    },
    policy::{
        AlarmKind, HostSnapshot, MonoTime, Severity, Size,
        forecast::{Change, Forecast, Watch, whole},
    },
    record::{Forecasts, HOST, Resource, ResourceForecast},
};

/// Of a unit's limit, this share must be memory that reclaim cannot simply drop: 1/2. File cache fills every limit in
/// the end, and nobody has to be told.
const SOLID: u64 = 2;
/// Forecasts that were not renewed for so many samples, and for this time, say nothing any more.
const RENEWALS: u32 = 5;
const OLD: Duration = Duration::from_secs(600);

/// One alarm that is on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OutlookAlarm {
    /// Names it on D-Bus; never used twice.
    pub(super) id: String,
    /// The unit, or the host.
    pub(super) subject: Arc<str>,
    resource: Resource,
    /// What was forecast when it was raised, in words.
    reason: String,
    since: MonoTime,
}

impl OutlookAlarm {
    /// As documents show it; `offset` is the distance between the clocks.
    pub(super) fn field(&self, offset: i128) -> AlarmField {
        AlarmField {
            id: self.id.clone(),
            kind: AlarmKind::Forecast,
            unit: self.subject.to_string(),
            severity: Severity::Warning.as_str(),
            reason: self.reason.clone(),
            since: rfc3339(self.since.0, offset),
            pages: 0,
            region: None,
        }
    }
}

#[derive(Debug, Default)]
struct Watched {
    watch: Watch,
    alarm: Option<OutlookAlarm>,
}

/// Something to be told.
#[derive(Debug, PartialEq)]
enum Told {
    Raised(OutlookAlarm, ResourceForecast),
    /// With the last forecast, if there is one.
    Cleared(OutlookAlarm, Option<ResourceForecast>),
}

/// The forecasts, and the alarms that they have raised.
#[derive(Debug)]
pub(super) struct Outlooks {
    /// Tells the alarms of this agent from those of an earlier one.
    started: MonoTime,
    raised: u64,
    /// The last forecasts; `None`: nothing is stored to forecast from.
    pub(super) latest: Forecasts,
    /// When they came.
    heard: MonoTime,
    watched: BTreeMap<(Resource, Arc<str>), Watched>,
}

/// Whether an alarm may be about a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matters {
    No,
    /// One that is on may stay.
    Stays,
    Yes,
}

impl Outlooks {
    pub(super) fn new(started: MonoTime) -> Self {
        Self {
            started,
            raised: 0,
            latest: None,
            heard: started,
            watched: BTreeMap::new(),
        }
    }

    /// Alarms that are on.
    pub(super) fn alarms(&self) -> impl Iterator<Item = &OutlookAlarm> {
        self.watched.values().filter_map(|watched| watched.alarm.as_ref())
    }

    /// Takes new forecasts. Alarms are raised about what `matters` and is used up `within` so many seconds.
    fn take(
        &mut self,
        made: Forecasts,
        within: f64,
        matters: impl Fn(&ResourceForecast) -> Matters,
        now: MonoTime,
    ) -> Vec<Told> {
        self.latest = made;
        self.heard = now;
        let made: BTreeMap<(Resource, Arc<str>), &ResourceForecast> = self
            .latest
            .iter()
            .flat_map(|made| made.iter())
            .map(|made| ((made.resource, Arc::from(made.subject())), made))
            .collect();
        let keys: BTreeSet<_> = made.keys().chain(self.watched.keys()).cloned().collect();
        let mut told = Vec::new();
        for key in keys {
            let watched = self.watched.entry(key.clone()).or_default();
            let forecast = made.get(&key).copied();
            let counts = forecast.filter(|made| match matters(made) {
                Matters::No => false,
                Matters::Stays => watched.watch.is_on(),
                Matters::Yes => true,
            });
            match watched.watch.next(counts.map(|made| &made.forecast), within) {
                Change::None => {}
                Change::Raise => {
                    let Some(made) = counts else { continue };
                    self.raised += 1;
                    let alarm = OutlookAlarm {
                        id: format!("{:x}-f{}", self.started.0, self.raised),
                        subject: key.1.clone(),
                        resource: made.resource,
                        reason: reason(made),
                        since: now,
                    };
                    watched.alarm = Some(alarm.clone());
                    told.push(Told::Raised(alarm, made.clone()));
                }
                Change::Clear => {
                    let alarm = watched.alarm.take();
                    told.extend(alarm.map(|alarm| Told::Cleared(alarm, forecast.cloned())));
                }
            }
        }
        self.watched.retain(|_, watched| !watched.watch.is_idle());
        told
    }

    /// Forgets forecasts that nobody has renewed for so long, and ends their alarms: a disk that hangs must not leave
    /// one on for ever.
    fn expire(&mut self, after: Duration, now: MonoTime) -> Vec<Told> {
        if self.latest.is_none() || now.since(self.heard) < after {
            return Vec::new();
        }
        self.latest = None;
        self.end()
    }

    /// Ends all alarms: nobody wants any.
    fn end(&mut self) -> Vec<Told> {
        let watched = std::mem::take(&mut self.watched);
        let alarms = watched.into_values().filter_map(|watched| watched.alarm);
        alarms.map(|alarm| Told::Cleared(alarm, None)).collect()
    }
}

fn reason(made: &ResourceForecast) -> String {
    let sentence = made.sentence().unwrap_or_default();
    format!("{sentence}: {} of {} in use", Size(made.used), Size(made.limit))
}

/// Why an alarm is over.
fn end_reason(last: Option<&ResourceForecast>) -> &'static str {
    match last.map(|made| &made.forecast) {
        None => "it is not there any more, or nobody wants to be told",
        Some(Forecast::Exhausts { .. }) => "it comes later than was forecast",
        Some(Forecast::Reached) => "the limit is reached, which is no forecast any more",
        Some(Forecast::Falling) => "it falls",
        Some(Forecast::TooLittle) => "there are too few samples to tell",
        Some(Forecast::NoTrend | Forecast::TooFar) => "it does not grow any more, or very slowly",
    }
}

impl Agent {
    /// Looks whether there are new forecasts.
    pub(super) fn look_ahead(&mut self, snapshot: &HostSnapshot, now: MonoTime) {
        let old = OLD.max(self.config.history.interval * RENEWALS);
        let told = if self.config.forecast.alarms {
            let within = self.config.forecast.alarm_within.as_secs_f64();
            let (index, config) = (&self.observer.index, &self.config);
            let matters = |made: &ResourceForecast| match &made.unit {
                None => Matters::Yes,
                Some(unit) if index.priority(config, unit) < Priority::Medium => Matters::No,
                Some(unit) if is_solid(snapshot, unit, made.limit) => Matters::Yes,
                Some(_) => Matters::Stays,
            };
            match self.chronicle.forecasts() {
                Some(made) => self.outlooks.take(made, within, matters, now),
                None => self.outlooks.expire(old, now),
            }
        } else {
            if let Some(made) = self.chronicle.forecasts() {
                (self.outlooks.latest, self.outlooks.heard) = (made, now);
            }
            let mut told = self.outlooks.expire(old, now);
            told.extend(self.outlooks.end());
            told
        };
        for told in told {
            match told {
                Told::Raised(alarm, made) => self.tell_outlook(&alarm, &made, now),
                Told::Cleared(alarm, last) => self.tell_outlook_over(&alarm, last.as_ref()),
            }
        }
    }

    fn tell_outlook(&mut self, alarm: &OutlookAlarm, made: &ResourceForecast, now: MonoTime) {
        let Forecast::Exhausts { earliest, latest, .. } = made.forecast else {
            return;
        };
        let (earliest, latest) = (whole(earliest), whole(latest));
        let priority = made.unit.as_deref().map(|unit| self.priority_of(unit));
        self.chronicle.alarm(&alarm.subject, alarm.reason.clone(), true);
        self.journal.write(&Entry {
            unit: Some(&alarm.subject),
            priority,
            resource: Some(made.resource.as_str()),
            earliest: Some(earliest),
            latest: Some(latest),
            reason: Some(&alarm.reason),
            ..Entry::new(
                Message::ForecastRaised,
                &format!("ALARM {}: {}", Severity::Warning.as_str(), alarm.reason),
            )
        });
        self.deliver_alarm(Alert {
            id: alarm.id.clone(),
            kind: AlarmKind::Forecast,
            resource: Some(made.resource.as_str().to_owned()),
            unit: alarm.subject.to_string(),
            severity: Severity::Warning,
            reason: alarm.reason.clone(),
            pages: 0,
            since: now,
            over: None,
        });
        let cgroup = made
            .unit
            .as_deref()
            .and_then(|unit| self.observer.index.cgroup_of_unit(unit));
        let details = Details {
            priority: priority.map_or_else(String::new, |priority| priority.to_string()),
            cgroup: cgroup.map(|(_, path)| path.to_string()),
            kind: "forecast".to_owned(),
            outlook: Some(OutlookDetails {
                resource: made.resource.as_str(),
                used: made.used,
                limit: made.limit,
                earliest,
                latest,
            }),
            ..Details::default()
        };
        self.signal(Signal::AlarmRaised {
            id: alarm.id.clone(),
            unit: alarm.subject.to_string(),
            severity: Severity::Warning,
            reason: alarm.reason.clone(),
            details,
        });
    }

    fn tell_outlook_over(&mut self, alarm: &OutlookAlarm, last: Option<&ResourceForecast>) {
        let why = end_reason(last);
        let what = match alarm.resource {
            Resource::Ram => "RAM".to_owned(),
            Resource::Swap => "swap".to_owned(),
            Resource::MemoryMax => format!("MemoryMax of {}", alarm.subject),
        };
        let text = format!("alarm warning is over: {what} lasts again: {why}");
        self.chronicle.alarm(&alarm.subject, text.clone(), false);
        let priority = (&*alarm.subject != HOST).then(|| self.priority_of(&alarm.subject));
        self.journal.write(&Entry {
            unit: Some(&alarm.subject),
            priority,
            resource: Some(alarm.resource.as_str()),
            reason: Some(why),
            ..Entry::new(Message::ForecastCleared, &text)
        });
        self.deliver_end(&alarm.id, 0);
        self.signal(Signal::AlarmCleared { id: alarm.id.clone() });
    }
}

/// Enough of what the unit uses is not file cache that could be dropped. Said of a unit that was not measured, too.
fn is_solid(snapshot: &HostSnapshot, unit: &str, limit: u64) -> bool {
    let view = snapshot.units.iter().find(|view| view.unit == unit);
    view.is_none_or(|view| {
        let current = snapshot
            .cgroups
            .get(&view.cgroup)
            .map_or(u64::MAX, |cgroup| cgroup.current);
        current.saturating_sub(view.cache) >= limit / SOLID
    })
}

#[cfg(test)]
#[path = "outlooks_tests.rs"]
mod tests;
