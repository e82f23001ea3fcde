//! Helpers of tests.

pub(crate) mod bus;
pub(crate) mod schema;
mod tools;

pub(crate) use tools::{skip, tool};

#[cfg(test)]
mod schema_tests;
