//! memmon's live-kernel and VM tests.

pub mod guest;
pub mod workload;
