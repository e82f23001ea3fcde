//! Configuration: what the operator declared, read from layered TOML files (see `packaging/memmon.toml`).
//!
//! [`Config::load`] reads the files of [`Layers`] in order and either returns a complete, consistent
//! [`Config`] or every error it found, each with file, line and column. A [`Config`] does not change: on
//! reload a new one is loaded and swapped in, or the old one kept.

mod alerts;
mod error;
mod file;
mod keys;
mod keys_alerts;
mod keys_policy;
mod layers;
mod listen;
mod merge;
mod model;
mod pattern;
mod policy;
mod show;
mod units;

pub use alerts::{Alerts, Http, Url};
pub use error::{ConfigError, ConfigErrors, KeyName, Location};
pub use layers::Layers;
pub use listen::Listen;
pub use model::{
    Config, Log, LogLevel, OnCriticalSwap, Priority, Reaction, Thresholds, UnknownPriority, WritePath,
};
pub use pattern::{Pattern, PatternError};
pub use policy::{ByteSize, Forecast, History, Proactive, Strategies};
pub use units::{NEVER_ACTED_UPON, UnitTable};

/// The shipped defaults, as they are installed to `/usr/lib/memmon/memmon.toml`.
pub const BUILT_IN: &str = include_str!("../../../packaging/memmon.toml");

#[cfg(test)]
mod tests;
