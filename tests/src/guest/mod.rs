//! What runs inside the virtual machines of `cargo xtask vm`.
//!
//! A [`Case`] is a function with a name; `cases/` has one file per topic, and `cases/mod.rs` lists them. The
//! binary `memmon-guest` runs each case in a process of its own, with a deadline, and reports on the results
//! port. A case changes the machine through [`Ctx`] only, which writes down what has to be undone: the runner
//! undoes it after the case, however the case ended.

pub mod agent;
pub mod case;
pub mod cases;
pub mod cgroup;
pub mod ctx;
pub mod documents;
pub mod door;
pub mod http;
pub mod kinds;
pub mod memory_stat;
pub mod monitoring;
pub mod package;
pub mod pagemap;
pub mod pressure;
pub mod results;
pub mod runner;
pub mod shell;
pub mod stream;
pub mod swap;
pub mod terminal;
pub mod tracer;
pub mod undo;
pub mod units;
pub mod viewers;
pub mod vmstat;
pub mod wait;
pub mod workload;

pub use case::{Case, Outcome};
pub use ctx::Ctx;
