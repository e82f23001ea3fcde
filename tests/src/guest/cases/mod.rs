//! The cases, one file per topic, in the order they run.
//!
//! To add a topic: write a file with `pub const CASES: &[Case]` and name it here. `smoke.rs` is the example.

pub mod culprits;
pub mod filters;
pub mod folios;
pub mod lives;
pub mod many;
pub mod self_test;
pub mod smoke;
pub mod zswap;

use super::Case;

/// Every case.
pub fn all() -> Vec<&'static Case> {
    [
        smoke::CASES,
        self_test::CASES,
        culprits::CASES,
        folios::CASES,
        zswap::CASES,
        lives::CASES,
        many::CASES,
        filters::CASES,
    ]
    .into_iter()
    .flatten()
    .collect()
}
