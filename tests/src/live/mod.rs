//! Cases for a live kernel: what memmon says against the kernel's own counters.
//!
//! They need root and zram0 for themselves, and run one at a time, since the counters they compare with are
//! those of the whole host.

pub mod context;
pub mod meter;
mod parity;

use crate::case::Case;
use context::Context;

/// Every case, cheap ones first.
pub fn cases() -> impl Iterator<Item = &'static Case<Context>> {
    [parity::CASES].into_iter().flatten()
}
