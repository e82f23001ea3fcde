//! What is kept of all this in the database, for people and for the forecast.

use std::{collections::HashMap, path::Path};

use super::sums::Sums;
use crate::{
    config::History,
    policy::{HostDecision, HostSnapshot, MonoTime, StrategyState},
    record::{self, Entry, Event, EventKind, Forecasts, HOST, Keep, Recorder, Sample, Tick},
    source::proc,
};

/// Where history is stored.
pub const HISTORY: &str = "/var/lib/memmon/history.db";

/// Keeps what happens.
pub(super) struct Chronicle {
    recorder: Option<Recorder>,
    next_sample: MonoTime,
    /// Pages swapped out and time stalled at the last sample, by unit.
    before: HashMap<String, (u64, u64)>,
}

impl Chronicle {
    /// Stores below `path`; a directory that is not there means no history, which is told once.
    pub(super) fn new(path: &Path, config: &History) -> Self {
        let keep = Keep {
            seconds: i64::try_from(config.keep.as_secs()).unwrap_or(i64::MAX),
            bytes: config.size.0,
        };
        let recorder = config.enabled.then(|| Recorder::start(path.to_owned(), keep));
        let recorder = recorder.and_then(|started| {
            started
                .map_err(|error| tracing::warn!("no history is stored, no thread: {error}"))
                .ok()
        });
        Self {
            recorder,
            next_sample: MonoTime(0),
            before: HashMap::new(),
        }
    }

    /// New forecasts, if there are any; within them `None`: nothing is stored, so there are none.
    pub(super) fn forecasts(&self) -> Option<Forecasts> {
        self.recorder.as_ref()?.forecasts()
    }

    /// Stores a sample of every unit, if it is time for one.
    pub(super) fn sample(&mut self, snapshot: &HostSnapshot, sums: &Sums, config: &History, now: MonoTime) {
        let Some(recorder) = &self.recorder else { return };
        if now < self.next_sample {
            return;
        }
        self.next_sample = now.after(config.interval);
        let mut seen = HashMap::with_capacity(snapshot.units.len());
        let mut samples = vec![self.host_sample(snapshot, sums, &mut seen)];
        for unit in &snapshot.units {
            let Some(cgroup) = snapshot.cgroups.get(&unit.cgroup) else {
                continue;
            };
            let pages = sums.out.pages_of(&unit.unit).unwrap_or(0);
            let stalled = unit.pressure.map_or(0, |pressure| pressure.some.total_us);
            let limits = snapshot.chain(&unit.cgroup).map(|(_, cgroup)| cgroup.max);
            let (swapped_out, stalled_us) = self.since(&unit.unit, pages, stalled, &mut seen);
            samples.push(Sample {
                unit: unit.unit.clone(),
                memory: cgroup.current,
                memory_limit: limits.min().and_then(crate::decode::Limit::bytes),
                swap: cgroup.swap.map_or(0, |swap| swap.current),
                swapped_out,
                stalled_us,
            });
        }
        recorder.put(Entry::Tick(Tick {
            at: wall(),
            samples,
            swap_total: Some(snapshot.host.swap_total),
        }));
        self.before = seen;
    }

    fn host_sample(
        &self,
        snapshot: &HostSnapshot,
        sums: &Sums,
        seen: &mut HashMap<String, (u64, u64)>,
    ) -> Sample {
        let host = &snapshot.host;
        let stalled = snapshot.psi.map_or(0, |pressure| pressure.some.total_us);
        let (swapped_out, stalled_us) = self.since(HOST, sums.out.total_pages(), stalled, seen);
        Sample {
            unit: HOST.to_owned(),
            memory: host.total.saturating_sub(host.available),
            memory_limit: Some(host.total),
            swap: host.swap_total.saturating_sub(host.swap_free),
            swapped_out,
            stalled_us,
        }
    }

    /// What was gained since the last sample; a unit that is new or was restarted begins at 0.
    fn since(
        &self,
        unit: &str,
        pages: u64,
        stalled: u64,
        seen: &mut HashMap<String, (u64, u64)>,
    ) -> (u64, u64) {
        let before = self.before.get(unit).copied();
        seen.insert(unit.to_owned(), (pages, stalled));
        before.map_or((0, 0), |(was_pages, was_stalled)| {
            (
                pages.saturating_sub(was_pages),
                stalled.saturating_sub(was_stalled),
            )
        })
    }

    pub(super) fn situation(&self, text: String) {
        self.event(EventKind::Situation, None, text, None);
    }

    /// Stores a decision with all that it rested on, so that another policy can be tried on it.
    pub(super) fn decision(
        &self,
        snapshot: &HostSnapshot,
        decision: &HostDecision,
        state: &StrategyState,
        now: MonoTime,
    ) {
        let text = decision
            .strategies
            .iter()
            .map(|strategy| match &strategy.unit {
                Some(unit) => format!("{} {unit}", strategy.action.as_str()),
                None => strategy.action.as_str().to_owned(),
            })
            .collect::<Vec<_>>()
            .join(", ");
        let data =
            serde_json::json!({ "now": now, "snapshot": snapshot, "state": state, "decision": decision });
        self.event(EventKind::Decision, None, text, Some(data));
    }

    pub(super) fn outcome(&self, unit: &str, text: String) {
        self.event(EventKind::Outcome, Some(unit), text, None);
    }

    pub(super) fn alarm(&self, unit: &str, text: String, raised: bool) {
        let kind = if raised {
            EventKind::Alarm
        } else {
            EventKind::Cleared
        };
        self.event(kind, Some(unit), text, None);
    }

    fn event(&self, kind: EventKind, unit: Option<&str>, text: String, data: Option<serde_json::Value>) {
        let Some(recorder) = &self.recorder else { return };
        recorder.put(Entry::Event(Event {
            at: wall(),
            kind,
            unit: unit.map(str::to_owned),
            text,
            data,
        }));
    }
}

fn wall() -> i64 {
    record::wall_seconds(super::now(), proc::wall_clock_offset_ns())
}
