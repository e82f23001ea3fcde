//! What this process has locked and registered. A forked child starts with none of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use log::warn;
use rustix::{io::Errno, process::Pid};

use crate::{
    agent::Agent,
    cgroup,
    fork::PerProcess,
    in_use::Keeper,
    mm::{self, PAGE, human},
    pages::{PageCounts, PageRange},
    release::Releaser,
};

/// The state of one process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pages: Mutex<PageCounts>,
    pub(crate) agent: Agent,
    pub(crate) keeper: Keeper,
    pub(crate) releaser: Releaser,
}

/// That of this process.
pub(crate) fn process() -> &'static Process {
    static CURRENT: PerProcess<Process> = PerProcess::new();
    CURRENT.get()
}

impl Default for Process {
    fn default() -> Self {
        Self {
            pid: rustix::process::getpid(),
            pages: Mutex::default(),
            agent: Agent::new(),
            keeper: Keeper::default(),
            releaser: Releaser::default(),
        }
    }
}

/// A thread that panicked with a lock held has not left anything half done that would matter here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Whether it is the running one, not a forked child's memory of its parent.
    pub(crate) fn is_current(&self) -> bool {
        self.pid == rustix::process::getpid()
    }

    /// Locks all of the ranges and brings them in, or none: then says why.
    pub(crate) fn take(&self, ranges: &[PageRange]) -> Result<(), String> {
        let mut pages = lock(&self.pages);
        let new: Vec<PageRange> = ranges.iter().flat_map(|range| pages.acquire(*range)).collect();
        let outcome = lock_new(&new);
        if outcome.is_err() {
            for range in ranges {
                // Locked by nobody: there is nothing to unlock.
                drop(pages.release(*range));
            }
        }
        outcome
    }

    /// Unlocks what nobody else holds.
    pub(crate) fn give(&self, ranges: &[PageRange]) {
        let mut pages = lock(&self.pages);
        for range in ranges {
            match pages.release(*range) {
                Ok(gone) => unlock(&gone),
                Err(error) => warn!("{error}"),
            }
        }
    }

    /// Runs `work` on the parts of the ranges that nobody holds, while nobody can take them.
    pub(crate) fn with_free(&self, ranges: &[PageRange], work: impl Fn(PageRange)) {
        let mut pages = lock(&self.pages);
        for range in ranges {
            pages.free(*range).into_iter().for_each(&work);
        }
    }

    /// Bytes locked, each page counted once.
    pub(crate) fn covered(&self) -> usize {
        lock(&self.pages).covered()
    }
}

fn lock_new(new: &[PageRange]) -> Result<(), String> {
    let to_lock = new.iter().map(|range| range.len()).sum::<usize>();
    if to_lock == 0 {
        return Ok(());
    }
    // What is in RAM already takes no further room, but costs time to count: only where it decides.
    if cgroup::room(to_lock as u64, to_lock as u64).is_some() {
        let present: usize = new.iter().filter_map(|range| mm::resident(*range)).sum();
        let to_bring_in = to_lock - present * *PAGE;
        if let Some(why) = cgroup::room(to_lock as u64, to_bring_in as u64) {
            return Err(why);
        }
    }
    for (done, range) in new.iter().enumerate() {
        if let Err(error) = mm::mlock(*range) {
            // A failed mlock may have locked the beginning of its range.
            unlock(&new[..=done]);
            return Err(explain(error, to_lock as u64));
        }
    }
    Ok(())
}

fn unlock(ranges: &[PageRange]) {
    for range in ranges {
        match mm::munlock(*range) {
            // NOMEM: the owner has unmapped it, or a part of it, and the lock went with it.
            Ok(()) | Err(Errno::NOMEM) => {}
            Err(error) => warn!("unlocking {range}: {error}"),
        }
    }
}

fn explain(error: Errno, to_lock: u64) -> String {
    let wanted = human(to_lock);
    let held = mm::locked_bytes();
    match mm::lock_limit() {
        Some(limit) if held + to_lock > limit => format!(
            "locking {wanted} on top of {} exceeds RLIMIT_MEMLOCK ({}): set LimitMEMLOCK= in the unit, or give it \
             CAP_IPC_LOCK",
            human(held),
            human(limit)
        ),
        _ if error == Errno::NOMEM => format!(
            "locking {wanted}: {error}: the memory is not mapped (any more), or the process has as many mappings as \
             vm.max_map_count allows"
        ),
        _ => format!("locking {wanted}: {error}"),
    }
}
