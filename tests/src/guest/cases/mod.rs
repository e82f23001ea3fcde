//! The cases, one file per topic, in the order they run.
//!
//! To add a topic: write a file with `pub const CASES: &[Case]` and name it here. `smoke.rs` is the example.

pub mod smoke;

use super::Case;

/// Every case.
pub fn all() -> Vec<&'static Case> {
    [smoke::CASES].into_iter().flatten().collect()
}
