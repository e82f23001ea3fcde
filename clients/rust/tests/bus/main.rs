//! With an agent, on a bus of its own.

mod agent;
mod fake;
mod service;
