//! The configuration as a whole: layers, errors and what is shown.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod errors;
mod layers;
mod pattern;
mod show;
