//! Cases for a live kernel: what memmon says against the kernel's own counters.
//!
//! They need root and zram0 for themselves, and run one at a time, since the counters they compare with are
//! those of the whole host.

pub mod context;
mod critical;
mod folios;
mod log;
mod many;
pub mod meter;
mod names;
mod pages;
mod parity;
mod stalls;
mod tracer;
mod wire;
pub mod worker;

use crate::case::Case;
use context::Context;

/// Every case, cheap ones first.
pub fn cases() -> impl Iterator<Item = &'static Case<Context>> {
    [
        parity::CASES,
        pages::CASES,
        folios::CASES,
        critical::CASES,
        stalls::CASES,
        log::CASES,
        names::CASES,
        wire::CASES,
        many::CASES,
    ]
    .into_iter()
    .flatten()
}
