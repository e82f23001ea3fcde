//! The configuration's types. Each enumeration's names are those of the files, the JSON and the metrics.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use super::{Alerts, Forecast, History, Http, Listen, Location, Proactive, Strategies, UnitTable, units};

/// A value that is one of a few words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Every word and what it stands for.
    const ALL: &'static [(&'static str, Self)];

    fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, value)| *value)
    }

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(name, _)| name)
    }

    fn words() -> String {
        Self::ALL
            .iter()
            .map(|(name, _)| format!("{name:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// How much a unit's memory matters. Ordered: a later one matters more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Attributed and shown, never acted upon.
    Observe,
    /// May be reclaimed for the others.
    Low,
    /// Matters.
    Medium,
    /// Matters much.
    High,
    /// Must not be in swap.
    Critical,
}

impl Choice for Priority {
    const ALL: &'static [(&'static str, Self)] = &[
        ("observe", Self::Observe),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("critical", Self::Critical),
    ];
}

impl Priority {
    /// The name used in files, JSON, metrics and the journal.
    pub fn as_str(self) -> &'static str {
        self.name()
    }

    /// This priority, lowered to what the unit file asks for with `X-MemmonPriority=`; it cannot raise.
    #[must_use]
    pub fn lowered_by(self, unit_file: Option<Self>) -> Self {
        unit_file.map_or(self, |asked| asked.min(self))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that is no priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a priority: write one of {words}", name = .0, words = Priority::words())]
pub struct UnknownPriority(pub String);

impl FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(word: &str) -> Result<Self, UnknownPriority> {
        Self::parse(word).ok_or_else(|| UnknownPriority(word.to_owned()))
    }
}

/// What to do when a page of a critical unit goes to swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCriticalSwap {
    /// Stop further swapping only where that cannot end in an OOM kill.
    Auto,
    /// `MemorySwapMax=0` whatever the headroom: the operator's word.
    Zero,
    /// `memory.swap.max` to what is in swap now, ratcheted down as pages come back.
    Freeze,
    /// Touch nothing.
    AlarmOnly,
}

impl Choice for OnCriticalSwap {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("zero", Self::Zero),
        ("freeze", Self::Freeze),
        ("alarm-only", Self::AlarmOnly),
    ];
}

/// Which way a limit is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WritePath {
    /// The cgroup file at once, then the systemd property so that both agree.
    CgroupThenSystemd,
    /// The systemd property only.
    SystemdOnly,
}

impl Choice for WritePath {
    const ALL: &'static [(&'static str, Self)] = &[
        ("cgroup-then-systemd", Self::CgroupThenSystemd),
        ("systemd-only", Self::SystemdOnly),
    ];
}

/// `[thresholds]`: fractions of the resource, in (0, 1].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Thresholds {
    /// RAM used = (MemTotal − MemAvailable) / MemTotal from which the situation is critical.
    pub ram_critical: f64,
    /// RAM used from which the situation is high.
    pub ram_high: f64,
    /// Swap used / swap total from which swap is high.
    pub swap_high: f64,
    /// As `swap_high`, for swap that is kept compressed in RAM (zram, zswap): pages that go there are not on
    /// a disk, and the host is not out of swap before it is full.
    pub compressed_high: f64,
    /// How far below a threshold the value must fall before the situation ends.
    pub hysteresis: f64,
    /// A situation lasts at least this long before it may end.
    pub dwell: Duration,
}

/// `[reaction]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Reaction {
    /// What to do.
    pub on_critical_swap: OnCriticalSwap,
    /// How to write it.
    pub write_path: WritePath,
    /// Quiet time before a lease ends.
    pub hold: Duration,
}

/// How much is logged. Ordered: a later one logs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What may need a person.
    Warn,
    /// What memmon does.
    Info,
    /// Why it does it.
    Debug,
    /// Everything.
    Trace,
}

impl Choice for LogLevel {
    const ALL: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl LogLevel {
    /// As aya-log counts levels in eBPF programs: 0 is off, 5 everything.
    pub const fn bpf(self) -> u8 {
        self as u8
    }
}

impl From<LogLevel> for tracing::level_filters::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The agent's messages.
    pub level: LogLevel,
    /// The eBPF programs' messages; their code is removed at load where it is [`LogLevel::Off`].
    pub bpf_level: LogLevel,
}

/// The effective configuration: complete and consistent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where metrics are served.
    pub listen: Listen,
    /// Which unit has which priority.
    pub units: UnitTable,
    /// When the host is short of memory.
    pub thresholds: Thresholds,
    /// What happens when a page of a critical unit goes to swap.
    pub reaction: Reaction,
    /// Where alarms are sent.
    pub alerts: Alerts,
    /// The server at `listen`.
    pub http: Http,
    /// What happens when the host runs short of memory.
    pub strategies: Strategies,
    /// What happens before it does.
    pub proactive: Proactive,
    /// What is made of forecasts.
    pub forecast: Forecast,
    /// What is stored.
    pub history: History,
    /// What is logged.
    pub log: Log,
    /// The files that were read, in that order.
    pub(super) files: Vec<Arc<str>>,
    /// Which file each value comes from, by table and key.
    pub(super) origins: BTreeMap<(String, String), Location>,
}

impl Config {
    /// The configured priority of `unit`: that of its exact name, else of the most specific pattern that
    /// matches; [`Priority::Observe`] if none does.
    pub fn priority(&self, unit: &str) -> Priority {
        self.units
            .lookup(unit)
            .map_or(Priority::Observe, |(_, priority)| priority)
    }

    /// Whether a limit of `unit` may ever be changed: it is not on [`super::NEVER_ACTED_UPON`]. Says
    /// nothing about its priority.
    pub fn may_act_on(&self, unit: &str) -> bool {
        !units::is_protected(unit)
    }

    /// The files that it is made of, lowest first; the built-in defaults are the first.
    pub fn files(&self) -> &[Arc<str>] {
        &self.files
    }

    /// What is valid and yet may not be what was meant, in words.
    pub fn notes(&self) -> Vec<String> {
        let protected =
            |(unit, priority): &(&str, Priority)| *priority > Priority::Observe && units::is_protected(unit);
        let note = |(unit, priority)| {
            format!("[units] {unit} = {priority}: memmon never acts upon this unit, it only shows it")
        };
        self.units.iter().filter(protected).map(note).collect()
    }
}
