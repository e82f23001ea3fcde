//! What people and other programs see.

pub mod journal;
pub mod json;
