//! What people and other programs see.

pub mod alerts;
pub mod dbus;
pub mod http;
pub mod journal;
pub mod json;
pub mod metrics;
pub mod top;
pub mod web;
