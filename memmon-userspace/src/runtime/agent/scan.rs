//! Reading the cgroup tree again, on a thread of its own: with ten thousand cgroups it takes too long for the loop.

use std::{collections::HashSet, sync::Arc, thread};

use tokio::sync::mpsc;

use super::Agent;
use crate::{
    attribute::{LifeUpdate, Resolved},
    decode::SwapOut,
    runtime::observer::ObserveError,
    source::cgroup_tree::{CgroupTree, CgroupTreeError, Scan},
};

/// Records whose owner nobody knows, kept until a scan has told. They are of critical cgroups, at most one every
/// 10 ms of each.
const UNKNOWN: usize = 1024;

/// Scans that are wanted, under way, or done.
pub(super) struct Scans {
    tree: CgroupTree,
    done: mpsc::Receiver<Scanned>,
    to_loop: mpsc::Sender<Scanned>,
    running: bool,
    /// Another one is wanted: what made it so may have come after the running one had passed there.
    again: bool,
    unknown: Vec<SwapOut>,
    /// Cgroups that a scan did not find: they were gone before anybody could see them.
    nameless: HashSet<u64>,
}

/// A scan that is done.
pub(super) struct Scanned {
    token: u64,
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
            unknown: Vec::new(),
            nameless: HashSet::new(),
        }
    }

    /// Waits for the running scan.
    pub(super) async fn next(&mut self) -> Option<Scanned> {
        self.done.recv().await
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
        if self.scans.nameless.contains(&event.owner) {
            return;
        }
        if self.scans.unknown.len() < UNKNOWN {
            self.scans.unknown.push(event);
        }
        self.scan();
    }

    fn scan(&mut self) {
        let scans = &mut self.scans;
        if scans.running {
            scans.again = true;
            return;
        }
        let token = self.observer.index.scan_token();
        let (tree, to_loop) = (scans.tree.clone(), scans.to_loop.clone());
        let scan = move || {
            let scan = tree.scan();
            // The agent may have ended.
            let _ = to_loop.blocking_send(Scanned { token, scan });
        };
        match thread::Builder::new().name("scan".to_owned()).spawn(scan) {
            Ok(_) => scans.running = true,
            Err(error) => tracing::error!("the cgroup tree cannot be read again: {error}"),
        }
    }

    pub(super) fn scanned(&mut self, Scanned { token, scan }: Scanned) {
        self.scans.running = false;
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
                self.mark_critical();
            }
            Err(error) => tracing::error!("the cgroup tree cannot be read again: {error}"),
        }
        let again = std::mem::take(&mut self.scans.again);
        let unknown = std::mem::take(&mut self.scans.unknown);
        let nameless: Vec<SwapOut> = unknown
            .into_iter()
            .filter_map(|event| self.swap_out(event))
            .collect();
        if again {
            self.scans.unknown = nameless;
            self.scan();
            return;
        }
        if self.scans.nameless.len() >= UNKNOWN {
            self.scans.nameless.clear();
        }
        self.scans
            .nameless
            .extend(nameless.iter().map(|event| event.owner));
    }
}
