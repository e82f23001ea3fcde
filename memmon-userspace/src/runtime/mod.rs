//! Wires the stages together: here alone they meet.

pub mod observer;
pub mod signals;
pub mod trace;
