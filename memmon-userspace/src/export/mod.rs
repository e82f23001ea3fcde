//! What people and other programs see.

pub mod dbus;
pub mod journal;
pub mod json;
