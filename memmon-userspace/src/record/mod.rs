//! What happened, stored: samples per unit, alarms, decisions with what they rested on, and outcomes.
//!
//! [`Recorder`] is the only writer: a thread behind a bounded channel. A disk that is full or read-only costs
//! history, never a reaction. [`History`] reads, also while the agent writes (WAL).

mod forecast;
mod query;
mod schema;
mod store;
mod writer;

pub use forecast::{Resource, ResourceForecast, WINDOW};
pub use query::{EventRow, History, Overview, SeriesPoint};
pub use schema::{Event, EventKind, HOST, Sample, Tick, wall_seconds};
pub use store::{Keep, Store, StoreError, StoreProblem};
pub use writer::{Entry, Forecasts, Recorder, RecorderState};

#[cfg(test)]
mod forecast_tests;
#[cfg(test)]
mod tests;
