//! The cases, one file per topic, in the order they run.
//!
//! To add a topic: write a file with `pub const CASES: &[Case]` and name it here. `smoke.rs` is the example.

pub mod faults;
pub mod lifecycle;
pub mod limits;
pub mod main_job;
pub mod modes;
pub mod operator;
pub mod reverts;
pub mod smoke;

use super::Case;

/// Every case.
pub fn all() -> Vec<&'static Case> {
    [
        smoke::CASES,
        main_job::CASES,
        reverts::CASES,
        operator::CASES,
        lifecycle::CASES,
        limits::CASES,
        modes::CASES,
        faults::CASES,
    ]
    .into_iter()
    .flatten()
    .collect()
}
