//! What `memmon top` shows: a model of what is known and wanted, and how it is drawn.
//!
//! Nothing here reads a file, a clock or a key: reports, signals, keys and the time are handed in, so that every
//! screen can be drawn in a test.

mod document;
mod draw;
mod events;
mod history;
mod keys;
mod look;
mod model;
mod news;
mod order;
mod rates;
mod text;

pub use document::Report;
pub use draw::draw;
pub use keys::Command;
pub use look::Look;
pub use model::{Model, Moment, Process, Processes};

#[cfg(test)]
mod tests;
