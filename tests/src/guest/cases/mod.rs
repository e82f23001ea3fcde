//! The cases, one file per topic, in the order they run.
//!
//! To add a topic: write a file with `pub const CASES: &[Case]` and name it here. `smoke.rs` is the example.

pub mod bus;
pub mod clients;
pub mod commands;
pub mod compare;
pub mod crash;
pub mod culprits;
pub mod faults;
pub mod filters;
pub mod folios;
pub mod lifecycle;
pub mod limits;
pub mod lives;
pub mod main_job;
pub mod many;
pub mod modes;
pub mod operator;
pub mod package;
pub mod pages;
pub mod reaction;
pub mod refusal;
pub mod reverts;
pub mod scenario;
pub mod self_test;
pub mod smoke;
pub mod soak;
pub mod story;
pub mod strategies;
pub mod swap_in;
pub mod tags;
pub mod zswap;

use super::Case;

/// The long cases, which `cargo xtask vm soak` runs.
pub fn long() -> Vec<&'static Case> {
    soak::CASES.iter().chain(crash::SOAK).collect()
}

/// Every other case.
pub fn all() -> Vec<&'static Case> {
    [
        smoke::CASES,
        main_job::CASES,
        package::CASES,
        story::CASES,
        reverts::CASES,
        operator::CASES,
        lifecycle::CASES,
        limits::CASES,
        modes::CASES,
        faults::CASES,
        bus::CASES,
        commands::CASES,
        strategies::CASES,
        crash::CASES,
        clients::CASES,
        tags::CASES,
        self_test::CASES,
        refusal::CASES,
        culprits::CASES,
        swap_in::CASES,
        folios::CASES,
        pages::CASES,
        zswap::CASES,
        lives::CASES,
        many::CASES,
        filters::CASES,
        reaction::CASES,
    ]
    .into_iter()
    .flatten()
    .collect()
}
