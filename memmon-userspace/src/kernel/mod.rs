//! What this kernel is, what of memmon can be attached to it, and attaching it.
//!
//! [`probe`] gathers facts, [`plan`] decides purely from one table of hooks, [`load`] obeys.

pub mod btf;
pub mod load;
pub mod plan;
pub mod probe;
pub mod programs;
