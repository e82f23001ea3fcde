//! `[strategies]`, `[proactive]`, `[forecast]` and `[history]`: what memmon does about the host as a whole.

use std::{fmt, str::FromStr, time::Duration};

use super::merge::Set;

/// `[strategies]`: what is done when the host runs short of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Strategies {
    /// Carry strategies out; if not, they are shown in the report only.
    pub act: bool,
    /// Time between asking a process to release memory and taking it.
    pub grace: Duration,
    /// Pause before the same step is repeated on the same unit; doubles each time it did not help.
    pub cool_down: Duration,
    /// Steps that take memory from units, per minute.
    pub actions_per_minute: u32,
}

/// `[proactive]`: acting before a threshold is reached. Takes from units of priority low only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Proactive {
    /// Do it at all.
    pub enabled: bool,
    /// How far ahead a threshold must be forecast for it.
    pub horizon: Duration,
    /// Per mille of the time that a task of a unit may be stalled on memory; above it the unit is left alone.
    pub pressure: u32,
    /// Bytes taken per day, at most.
    pub daily: ByteSize,
}

/// `[forecast]`: what is made of forecasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Forecast {
    /// Raise an alarm when RAM, swap or the limit of a unit of priority medium or above is about to be used up.
    pub alarms: bool,
    /// How near that must be.
    pub alarm_within: Duration,
}

/// `[history]`: what is stored in `/var/lib/memmon/history.db`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct History {
    /// Store it at all.
    pub enabled: bool,
    /// Time between two samples.
    pub interval: Duration,
    /// Older records are dropped.
    pub keep: Duration,
    /// The database does not grow beyond.
    pub size: ByteSize,
}

/// A number of bytes, written with a unit to the base of 1024: `500M`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let shift = UNITS
            .iter()
            .find(|(unit, _)| trimmed.ends_with(*unit))
            .map_or(0, |(_, shift)| *shift);
        let digits = if shift == 0 {
            trimmed
        } else {
            &trimmed[..trimmed.len() - 1]
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| "is not a size: write a number and a unit, such as \"500M\" or \"2G\"".to_owned())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, shift)| self.0 > 0 && self.0.is_multiple_of(1 << shift))
        {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The values of these tables read so far.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyDraft {
    pub(super) act: Option<Set<bool>>,
    pub(super) grace: Option<Set<Duration>>,
    pub(super) cool_down: Option<Set<Duration>>,
    pub(super) actions_per_minute: Option<Set<u32>>,
    pub(super) enabled: Option<Set<bool>>,
    pub(super) horizon: Option<Set<Duration>>,
    pub(super) pressure: Option<Set<u32>>,
    pub(super) daily: Option<Set<ByteSize>>,
    pub(super) alarms: Option<Set<bool>>,
    pub(super) alarm_within: Option<Set<Duration>>,
    pub(super) history: Option<Set<bool>>,
    pub(super) interval: Option<Set<Duration>>,
    pub(super) keep: Option<Set<Duration>>,
    pub(super) size: Option<Set<ByteSize>>,
}
