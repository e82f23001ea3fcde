//! Reading the cgroup tree again, on a thread of its own: with ten thousand cgroups it takes too long for the loop.

use std::{collections::HashSet, sync::Arc, thread};

use tokio::sync::mpsc;

use super::{
    Agent, now,
    unknown::{Unknown, gone},
};
use crate::{
    attribute::{LifeUpdate, Resolved},
    decode::SwapOut,
    policy::MonoTime,
    runtime::observer::ObserveError,
    source::cgroup_tree::{CgroupTree, CgroupTreeError, Scan},
};

/// Scans that are wanted, under way, or done.
pub(super) struct Scans {
    tree: CgroupTree,
    done: mpsc::Receiver<Scanned>,
    to_loop: mpsc::Sender<Scanned>,
    running: bool,
    /// Another one is wanted: what made it so may have come after the running one had passed there.
    again: bool,
    unknown: Unknown,
}

/// A scan that is done.
pub(super) struct Scanned {
    token: u64,
    /// The cgroups that were marked as critical when it began.
    marked: Vec<u64>,
    scan: Result<Scan, CgroupTreeError>,
}

impl Scans {
    pub(super) fn new(tree: CgroupTree) -> Self {
        let (to_loop, done) = mpsc::channel(1);
        Self {
            tree,
            done,
            to_loop,
            running: false,
            again: false,
            unknown: Unknown::default(),
        }
    }

    /// Waits for the running scan.
    pub(super) async fn next(&mut self) -> Option<Scanned> {
        self.done.recv().await
    }

    /// When a scan that did not tell is to be repeated.
    pub(super) fn next_try(&self) -> Option<MonoTime> {
        self.unknown.next_try()
    }
}

impl Agent {
    /// Cgroups came or went: the index follows, and with it the marks and the leases.
    pub(super) fn tree_changed(&mut self) -> Result<(), ObserveError> {
        let (updates, scan) = self.observer.drain_cgroups()?;
        for update in updates {
            match update {
                LifeUpdate::Added(cgroup) => {
                    self.mark_new(&cgroup);
                    self.cgroup_added(&cgroup);
                }
                LifeUpdate::Removed(cgroup) => self.cgroup_removed(cgroup.id),
                LifeUpdate::Released | LifeUpdate::Unchanged | LifeUpdate::NeedsScan => {}
            }
        }
        if scan {
            self.scan();
        }
        Ok(())
    }

    /// A unit that was started again has its leases in the new cgroup, and the watch on its limits follows them.
    fn cgroup_added(&mut self, cgroup: &Resolved) {
        let Some(path) = cgroup.path.as_deref() else {
            return;
        };
        if cgroup.unit_cgroup() != Some(path) {
            return;
        }
        if let Some(hands) = &mut self.hands
            && hands.executor.cgroup_added(&cgroup.unit, path, cgroup.id)
        {
            self.started_again.insert(Arc::clone(&cgroup.unit));
        }
    }

    /// The owner of a page has no name yet: it gets one by a scan, and the page its answer then.
    pub(super) fn owner_unknown(&mut self, event: SwapOut) {
        if self.scans.unknown.wait(event) {
            self.scan();
        }
    }

    pub(super) fn scan_if_due(&mut self) {
        if self.scans.next_try().is_some_and(|at| at <= now()) {
            self.scans.unknown.try_again();
            self.scan();
        }
    }

    fn scan(&mut self) {
        let scans = &mut self.scans;
        if scans.running {
            scans.again = true;
            return;
        }
        let marked = self.observer.probes.critical().unwrap_or_else(|error| {
            tracing::warn!("which cgroups are marked as critical cannot be read: {error}");
            Vec::new()
        });
        let token = self.observer.index.scan_token();
        let (tree, to_loop) = (scans.tree.clone(), scans.to_loop.clone());
        let scan = move || {
            let scan = tree.scan();
            // The agent may have ended.
            let _ = to_loop.blocking_send(Scanned { token, marked, scan });
        };
        match thread::Builder::new().name("scan".to_owned()).spawn(scan) {
            Ok(_) => scans.running = true,
            Err(error) => {
                tracing::error!("no thread to read the cgroup tree again: {error}");
                let left = scans.unknown.take();
                scans.unknown.settle(left, false, now());
            }
        }
    }

    pub(super) fn scanned(&mut self, Scanned { token, marked, scan }: Scanned) {
        self.scans.running = false;
        let saw_all = scan.as_ref().is_ok_and(|scan| scan.complete);
        match scan {
            Ok(scan) => {
                let update = self.observer.take_scan(token, &scan);
                for id in update.added {
                    if let Some(cgroup) = self.observer.index.resolve(id) {
                        self.cgroup_added(&cgroup);
                    }
                }
                for id in update.removed {
                    self.cgroup_removed(id);
                }
                if saw_all {
                    let found: HashSet<u64> = scan.cgroups.iter().map(|cgroup| cgroup.id).collect();
                    let index = &self.observer.index;
                    let is_there = |id| index.resolve(id).is_some_and(|cgroup| cgroup.alive);
                    for id in gone(marked, &found, is_there) {
                        self.take_mark_back(id);
                    }
                }
                self.mark_critical();
            }
            Err(error) => tracing::error!("the cgroup tree cannot be read again: {error}"),
        }
        let again = std::mem::take(&mut self.scans.again);
        let unknown = self.scans.unknown.take();
        let left: Vec<SwapOut> = unknown
            .into_iter()
            .filter_map(|event| self.swap_out(event))
            .collect();
        if again {
            self.scans.unknown.keep(left);
            self.scan();
            return;
        }
        self.scans.unknown.settle(left, saw_all, now());
    }
}
