//! What people and other programs see.

pub mod json;
