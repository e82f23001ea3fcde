//! Runs the agent.
fn main() {}
