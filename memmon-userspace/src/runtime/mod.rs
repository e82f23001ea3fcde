//! Wires the stages together: here alone they meet.

pub mod agent;
pub mod check;
pub mod observer;
pub mod report;
pub mod self_test;
pub mod signals;
pub mod survey;
pub mod trace;
