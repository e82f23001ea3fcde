//! Helpers of tests.

pub(crate) mod bus;
pub(crate) mod schema;

#[cfg(test)]
mod schema_tests;
