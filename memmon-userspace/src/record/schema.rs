//! The tables, and what is written into them.

use crate::policy::MonoTime;

/// The name under which the host itself is stored among the units; no unit can be called so.
pub const HOST: &str = "(host)";

/// The layout's number (`PRAGMA user_version`). A file with another one is put aside.
pub(super) const VERSION: i64 = 1;

/// How samples are kept: the older, the coarser. Seconds per row, and for how long; the first tier takes samples
/// as they come, the last is kept as long as the configuration says.
pub(super) const TIERS: [Tier; 4] = [
    Tier {
        table: "sample_0",
        step: 0,
        keep: 24 * 3600,
    },
    Tier {
        table: "sample_1",
        step: 300,
        keep: 7 * 24 * 3600,
    },
    Tier {
        table: "sample_2",
        step: 1800,
        keep: i64::MAX,
    },
    Tier {
        table: "sample_3",
        step: 6 * 3600,
        keep: i64::MAX,
    },
];

/// One resolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tier {
    pub(super) table: &'static str,
    pub(super) step: i64,
    pub(super) keep: i64,
}

/// Rows of one unit lie together: its history is one walk through the tree.
pub(super) fn ddl() -> String {
    let mut sql = String::from(
        "CREATE TABLE IF NOT EXISTS unit (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;\n\
         CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, \
         unit TEXT, text TEXT NOT NULL, data TEXT) STRICT;\n\
         CREATE INDEX IF NOT EXISTS event_at ON event (at);\n",
    );
    for tier in TIERS {
        sql.push_str(&format!(
            "CREATE TABLE IF NOT EXISTS {} (unit INTEGER NOT NULL, at INTEGER NOT NULL, memory INTEGER NOT NULL, \
             memory_peak INTEGER NOT NULL, memory_limit INTEGER, swap INTEGER NOT NULL, swap_peak INTEGER NOT NULL, \
             swapped_out INTEGER NOT NULL, stalled_us INTEGER NOT NULL, PRIMARY KEY (unit, at)) STRICT, WITHOUT ROWID;\n",
            tier.table
        ));
    }
    sql
}

/// What was measured at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Wall time, seconds since 1970.
    pub at: i64,
    /// The units, and the host as [`HOST`].
    pub samples: Vec<Sample>,
    /// Size of swap, bytes; for the forecast, not stored. `None`: unknown.
    pub swap_total: Option<u64>,
}

/// One unit at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Name.
    pub unit: String,
    /// `memory.current`; for the host, RAM used. Bytes.
    pub memory: u64,
    /// The limit that applies: the least `memory.max` up to the root; for the host, RAM. `None`: no limit. Bytes.
    pub memory_limit: Option<u64>,
    /// `memory.swap.current`; for the host, swap used. Bytes.
    pub swap: u64,
    /// Pages swapped out since the last sample.
    pub swapped_out: u64,
    /// Time that some task was stalled on memory since the last sample, microseconds.
    pub stalled_us: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Wall time, seconds since 1970.
    pub at: i64,
    /// What kind of thing.
    pub kind: EventKind,
    /// About which unit.
    pub unit: Option<String>,
    /// In words.
    pub text: String,
    /// All there is to know, as JSON: for a decision, what it rested on.
    pub data: Option<serde_json::Value>,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An alarm was raised.
    Alarm,
    /// An alarm was cleared.
    Cleared,
    /// The situation changed.
    Situation,
    /// Something was decided.
    Decision,
    /// What came of it.
    Outcome,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Alarm,
        Self::Cleared,
        Self::Situation,
        Self::Decision,
        Self::Outcome,
    ];

    /// The name in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Cleared => "cleared",
            Self::Situation => "situation",
            Self::Decision => "decision",
            Self::Outcome => "outcome",
        }
    }
}

/// Wall time in whole seconds of a moment of `CLOCK_MONOTONIC`; `offset_ns` is the distance of the clocks now.
pub fn wall_seconds(at: MonoTime, offset_ns: i128) -> i64 {
    i64::try_from((i128::from(at.0) + offset_ns).div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
}
