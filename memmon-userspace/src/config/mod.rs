//! Configuration: what the operator declared. Read from layered TOML files; see `packaging/memmon.toml`.

mod model;

pub use model::{Config, OnCriticalSwap, Priority, Reaction, Thresholds, WritePath};
