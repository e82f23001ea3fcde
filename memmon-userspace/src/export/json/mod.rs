//! The JSON documents; their schemas are in `packaging/schemas`.

pub mod trace;
