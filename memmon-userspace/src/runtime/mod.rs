//! Wires the stages together: here alone they meet.

pub mod agent;
pub mod check;
mod mapping_names;
pub mod observer;
pub mod replay;
pub mod report;
pub mod self_test;
pub mod signals;
pub mod survey;
pub mod top;
pub mod trace;
mod trace_pages;
