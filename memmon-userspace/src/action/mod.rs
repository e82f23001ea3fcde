//! Carrying a decision out, and putting it back.
//!
//! Two owners, no shared state:
//!
//! - [`Executor`] owns the lease file and all leases. Everything it does is synchronous and short:
//!   [`Executor::execute`] is the reaction path (lease on record, then the cgroup file).
//! - [`systemd::work`] is a task that owns the D-Bus connection. It takes [`systemd::Job`]s and answers with
//!   [`systemd::Report`]s. It may be stuck as long as PID 1 is; nothing waits for it.
//!
//! The event loop ties them together:
//!
//! ```text
//! let (mut executor, outcomes) = Executor::open(options)?;       // puts back what an earlier agent left
//! spawn(systemd::work(Bus::System, "/".into(), jobs_rx, reports_tx));
//! loop select {
//!     critical page          => outcomes = executor.execute(&decide(snapshot, …), mode);
//!     report from the worker => outcomes = executor.report(report);
//!     Reloading(false)       => executor.reloaded();
//!     cgroup added           => executor.cgroup_added(unit, path, inode);
//!     cgroup removed         => outcomes = executor.cgroup_removed(inode);
//!     review is due          => outcomes = executor.execute(&decide(snapshot without event, …), mode);
//!     RevertAll              => outcomes = executor.revert_all("RevertAll");
//!     SIGTERM                => outcomes = executor.revert_all("SIGTERM"), go on until executor.is_settled()
//! }
//! after each: executor.pump(&jobs_tx); sleep no longer than until executor.next_wakeup()
//! ```

mod agree;
pub mod bring_back;
mod cgroup_write;
mod change;
mod checksum;
mod execute;
#[cfg(test)]
mod fake_systemd;
pub mod fault;
mod follow;
mod journal;
mod journal_lines;
mod lease;
pub mod measure;
mod outcome;
pub mod reclaim;
mod rehearse;
mod revert;
#[cfg(test)]
mod rig;
mod settle;
pub mod systemd;
mod systemd_jobs;
pub mod systemd_plan;
pub mod systemd_props;
#[cfg(test)]
mod test_support;
mod theirs;

pub use cgroup_write::{CgroupWriteError, LimitFile};
pub use execute::{Executor, ExecutorError, Options};
pub use journal::{Corrupt, Journal, JournalError, Recovered, recorded};
pub use lease::{Lease, LeaseState, SystemdBefore};
pub use outcome::{Outcome, StepResult, Timings};
pub use rehearse::RehearsalError;
pub use systemd_plan::UnitFacts;
pub use systemd_props::{is_unit_directory, is_unit_name};
