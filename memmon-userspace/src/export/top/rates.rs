//! Differences of counters between two reports.

use std::{collections::HashMap, time::Duration};

use super::{
    document::{Blame, Report, Unit},
    history::History,
    text::Clean,
};

/// Pages per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Rate {
    /// Nobody counts it.
    #[default]
    Unknown,
    /// It takes two reports of one agent.
    Later,
    /// So many.
    Is(f64),
}

impl Rate {
    pub(super) const fn value(self) -> Option<f64> {
        match self {
            Self::Is(rate) => Some(rate),
            Self::Unknown | Self::Later => None,
        }
    }
}

/// What a counter gained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gain {
    /// How much; `None` if that is not known.
    pub(super) pages: Option<u64>,
    /// In which time.
    pub(super) time: Duration,
    /// The same per second.
    pub(super) rate: Rate,
}

impl Gain {
    /// A counter that is smaller than it was has begun anew: then nothing is known.
    pub(super) fn of(before: Option<u64>, now: Option<u64>, time: Duration) -> Self {
        let pages = now
            .zip(before)
            .and_then(|(now, before)| now.checked_sub(before))
            .filter(|_| !time.is_zero());
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = match pages {
            Some(pages) => Rate::Is(pages as f64 / time.as_secs_f64()),
            None if now.is_none() => Rate::Unknown,
            None => Rate::Later,
        };
        Self { pages, time, rate }
    }
}

/// The rates of one unit.
#[derive(Clone, Debug)]
pub(super) struct UnitRates {
    pub(super) out: Rate,
    pub(super) back: Rate,
    pub(super) history: History,
}

/// The rates of everything.
#[derive(Debug, Default)]
pub(super) struct Rates {
    at: Option<Duration>,
    units: HashMap<Clean, UnitRates>,
    blame: HashMap<BlameKey, (u64, Rate)>,
    /// All units together.
    pub(super) total: Rate,
    pub(super) history: History,
}

/// Victim, reclaimer and kind.
pub(super) type BlameKey = (Clean, Option<Clean>, Clean);

impl Blame {
    pub(super) fn key(&self) -> BlameKey {
        (self.victim.clone(), self.reclaimer.clone(), self.kind.clone())
    }
}

impl Rates {
    /// Takes a report over that came at `now`; `before` is the one before, if it is of the same agent.
    pub(super) fn update(&mut self, before: Option<&Report>, report: &Report, now: Duration) {
        let time = before
            .and(self.at)
            .map_or(Duration::ZERO, |at| now.saturating_sub(at));
        let earlier: HashMap<&Clean, &Unit> = before
            .into_iter()
            .flat_map(|report| report.units.iter().map(|unit| (&unit.unit, unit)))
            .collect();
        let mut units = HashMap::with_capacity(report.units.len());
        for unit in &report.units {
            let known = self.units.remove(&unit.unit);
            let mut history = known.map_or_else(History::default, |known| known.history);
            // One that was not there may be an old one come back, with all that it had lost before.
            let old = earlier.get(&unit.unit);
            let gain = |counter: fn(&Unit) -> Option<u64>| {
                Gain::of(old.and_then(|old| counter(old)), counter(unit), time)
            };
            let out = gain(|unit| unit.swapout_pages);
            history.add(now, &out);
            units.insert(
                unit.unit.clone(),
                UnitRates {
                    out: out.rate,
                    back: gain(|unit| unit.swapin_pages).rate,
                    history,
                },
            );
        }
        self.units = units;
        // Also of units that are gone.
        let sum = |report: &Report| Some(report.blame.as_ref()?.iter().map(|blame| blame.pages).sum());
        let total = Gain::of(before.and_then(sum), sum(report), time);
        self.history.add(now, &total);
        self.total = total.rate;
        self.update_blame(before.is_some(), report, time);
        self.at = Some(now);
    }

    fn update_blame(&mut self, same: bool, report: &Report, time: Duration) {
        let blame = report.blame.iter().flatten().map(|blame| {
            let key = blame.key();
            let before = self.blame.get(&key).map_or(0, |(pages, _)| *pages);
            let gain = Gain::of(same.then_some(before), Some(blame.pages), time);
            (key, (blame.pages, gain.rate))
        });
        self.blame = blame.collect();
    }

    /// The rates of a unit.
    pub(super) fn unit(&self, unit: &Clean) -> Option<&UnitRates> {
        self.units.get(unit)
    }

    /// The rate of a pair of victim and culprit.
    pub(super) fn blame(&self, blame: &Blame) -> Rate {
        self.blame
            .get(&blame.key())
            .map_or(Rate::Later, |(_, rate)| *rate)
    }
}
