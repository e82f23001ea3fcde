//! The JSON documents; their schemas are in `packaging/schemas`.

pub mod check;
pub mod forecast;
pub mod live;
pub mod past;
pub mod report;
pub mod trace;
