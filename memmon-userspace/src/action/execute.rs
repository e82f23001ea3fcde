//! The executor: owns the leases and carries decisions out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::fault::{self, Point};
use super::journal::{Journal, JournalError, Recovered};
use super::lease::Lease;
use super::outcome::{Outcome, StepResult};
use super::systemd_plan::RevertPlan;
use super::theirs::Theirs;
use crate::config::{OnCriticalSwap, WritePath};
use crate::policy::{Action, Decision, LeaseId, LeaseView, MonoTime, Property, Snapshot};
use crate::source::cgroupfs::CgroupRoot;

/// What an executor needs to know.
pub struct Options {
    /// Where cgroup v2 is mounted, usually `/sys/fs/cgroup`.
    pub cgroup_root: PathBuf,
    /// Where the lease file is kept, usually `/run/memmon`.
    pub lease_dir: PathBuf,
    /// Change nothing, say everything.
    pub dry_run: bool,
    /// Which way limits are changed.
    pub write_path: WritePath,
    /// There is a systemd to agree with.
    pub systemd: bool,
    /// The kernel rounds limits down to whole pages of this many bytes.
    pub page_size: u64,
    /// The clock.
    pub clock: Box<dyn Fn() -> MonoTime + Send>,
}

/// The executor could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// No cgroup tree.
    #[error("cannot open the cgroup tree at {path}: {source}; is cgroup v2 mounted there?")]
    Cgroups {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No lease file.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Owns all leases; see the module's documentation.
pub struct Executor {
    pub(super) options: Options,
    pub(super) root: CgroupRoot,
    /// `None` in a dry run: a later real start must not find leases that nobody took.
    pub(super) journal: Option<Journal>,
    /// What a dry run would have on record.
    pub(super) imagined: BTreeMap<LeaseId, Lease>,
    pub(super) tasks: BTreeMap<LeaseId, Task>,
    /// What others have set `MemorySwapMax` to while memmon had a lease on it, by unit.
    pub(super) theirs: BTreeMap<String, Theirs>,
}

/// What is still to be done for a lease.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) want: Want,
    /// A job is with the worker.
    pub(super) in_flight: bool,
    /// Failed tries in a row.
    pub(super) attempts: u32,
    /// Not to be tried before.
    pub(super) not_before: MonoTime,
    /// What to ask of systemd next.
    pub(super) next: Next,
    /// systemd has read its configuration since.
    pub(super) reloaded: bool,
}

/// What to ask of systemd next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// How things are.
    Inspect,
    /// To take the value; the lease says what was there before.
    Set,
    /// To give the value back.
    Restore(RevertPlan),
}

/// What a lease is heading for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Nothing: it is in force.
    Nothing,
    /// systemd shall agree.
    Official,
    /// It shall end.
    Revert {
        /// Why, in words.
        cause: String,
        /// Whatever the unit's usage is.
        forced: bool,
        /// The cgroup file has its old value back, and that was told.
        told: bool,
    },
    /// A daemon-reload may have undone it.
    AfterReload,
}

impl Task {
    /// Nothing has been asked yet.
    pub(super) const fn new(want: Want) -> Self {
        Self {
            want,
            in_flight: false,
            attempts: 0,
            not_before: MonoTime(0),
            next: Next::Inspect,
            reloaded: false,
        }
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("journal", &self.journal)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

impl Executor {
    /// Opens the cgroup tree and the lease file, and begins to put back what an earlier agent left: it was
    /// killed, and what made it act may be over.
    ///
    /// # Errors
    /// If either cannot be opened. What the lease file holds is never an error: see [`Recovered`].
    pub fn open(options: Options) -> Result<(Self, Recovered, Vec<Outcome>), ExecutorError> {
        let root = open_root(&options.cgroup_root)?;
        let (journal, recovered) = if options.dry_run {
            (None, Recovered::default())
        } else {
            let (journal, recovered) = Journal::open(&options.lease_dir)?;
            (Some(journal), recovered)
        };
        let mut executor = Self {
            options,
            root,
            journal,
            imagined: BTreeMap::new(),
            tasks: BTreeMap::new(),
            theirs: BTreeMap::new(),
        };
        let mut outcomes = Vec::new();
        for lease in &recovered.leases {
            executor.tasks.insert(lease.id, Task::new(Want::Nothing));
            outcomes.extend(executor.revert(
                lease.id,
                "an earlier agent ended without putting it back",
                true,
            ));
        }
        Ok((executor, recovered, outcomes))
    }

    /// Carries `decision` out, most urgent step first. `mode` is the reaction it was made under.
    ///
    /// This is the reaction path: it does not wait for systemd and writes nothing that can block.
    pub fn execute(&mut self, decision: &Decision, mode: OnCriticalSwap) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(decision.actions.len());
        for planned in &decision.actions {
            match &planned.action {
                Action::Protect(change) | Action::Freeze(change) | Action::RaiseHigh(change) => {
                    outcomes.push(self.change(decision, planned, change, mode));
                }
                Action::Revert { lease } => outcomes.extend(self.revert(*lease, &planned.reason, false)),
                Action::Keep { lease, until } => {
                    if let Some(journal) = &mut self.journal {
                        journal.extend(*lease, *until);
                    }
                }
                Action::None => outcomes.push(Outcome {
                    unit: decision.unit.clone(),
                    action: planned.action.as_str(),
                    lease: None,
                    property: None,
                    old: None,
                    new: None,
                    reason: planned.reason.clone(),
                    result: StepResult::Skipped(planned.reason.clone()),
                    timings: None,
                }),
            }
        }
        outcomes
    }

    /// All leases on record, for `status`; in a dry run those that would be.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.journal
            .iter()
            .flat_map(Journal::live)
            .chain(self.imagined.values())
    }

    /// The unit that a lease is on.
    pub fn unit_of(&self, lease: LeaseId) -> Option<std::sync::Arc<str>> {
        let lease = self.lease(lease)?;
        Some(lease.unit.as_str().into())
    }

    /// The leases of `unit` that are in force, for policy; not those that are on their way back.
    pub fn views(&self, unit: &str) -> Vec<LeaseView> {
        self.leases()
            .filter(|lease| lease.unit == unit && !self.is_ending(lease.id))
            .map(Lease::view)
            .collect()
    }

    /// The cgroups whose swap memmon has stopped by its own judgement. Their limits are to be watched: a unit that
    /// hits one needs its swap back at once, and the review that follows gives it. Those that are on their way back are
    /// among them until systemd has followed.
    pub fn guarded(&self) -> impl Iterator<Item = &Lease> {
        let by_judgement =
            |lease: &&Lease| lease.property == Property::MemorySwapMax && lease.mode == OnCriticalSwap::Auto;
        self.leases().filter(by_judgement)
    }

    /// In a dry run, gives `snapshot` the limits that would be in force, so that one page after another gets
    /// the answers of a real run.
    pub fn imagine(&self, snapshot: &mut Snapshot) {
        let Some(unit) = snapshot.chain.first_mut() else {
            return;
        };
        for lease in self
            .imagined
            .values()
            .filter(|lease| lease.inode == snapshot.cgroup_id)
        {
            match (lease.property, &mut unit.swap) {
                (Property::MemoryHigh, _) => unit.high = lease.new,
                (Property::MemorySwapMax, Some(swap)) => swap.max = lease.new,
                (Property::MemorySwapMax, None) | (Property::MemoryLow, _) => {}
            }
        }
    }

    pub(super) fn now(&self) -> MonoTime {
        (self.options.clock)()
    }

    pub(super) fn is_ending(&self, id: LeaseId) -> bool {
        self.tasks
            .get(&id)
            .is_some_and(|task| matches!(task.want, Want::Revert { .. }))
    }

    pub(super) fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.journal.as_ref().and_then(|journal| journal.get(id))
    }

    /// Puts a lease on record, new or changed; in a dry run nothing is.
    pub(super) fn record(&mut self, lease: Lease) -> Result<(), JournalError> {
        self.journal
            .as_mut()
            .map_or(Ok(()), |journal| journal.record(lease))
    }

    /// Gives a lease something new to head for. A job that is with the worker stays there: its report is
    /// then judged by the new aim.
    pub(super) fn aim(&mut self, id: LeaseId, want: Want) {
        let in_flight = self.tasks.get(&id).is_some_and(|task| task.in_flight);
        self.tasks.insert(
            id,
            Task {
                in_flight,
                ..Task::new(want)
            },
        );
    }

    /// Ends a lease without touching anything.
    pub(super) fn forget(&mut self, id: LeaseId) {
        self.tasks.remove(&id);
        self.imagined.remove(&id);
        fault::at(Point::BeforeLeaseEnd);
        if let Some(Err(error)) = self.journal.as_mut().map(|journal| journal.end(id)) {
            tracing::error!(lease = id.0, %error, "the lease has ended but the lease file still names it");
        }
        fault::at(Point::AfterLeaseEnd);
    }
}

fn open_root(path: &Path) -> Result<CgroupRoot, ExecutorError> {
    CgroupRoot::open(path).map_err(|source| ExecutorError::Cgroups {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;
