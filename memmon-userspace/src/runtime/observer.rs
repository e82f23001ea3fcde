//! The left half of the pipeline, from the attached programs to the unit index; the agent and `memmon trace`
//! stand on it.

use std::{io, path::Path};

use aya::maps::MapError;

use crate::{
    attribute::{LifeUpdate, ScanUpdate, UnitIndex},
    decode::{self, Event, SwapOut},
    source::{
        cgroup_tree::{CgroupTree, CgroupTreeError, Scan},
        probes::{OpenError, Options, Probes},
        ring::Ring,
    },
};

/// Why observing could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The programs could not be loaded or attached.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No cgroup tree with a memory controller.
    #[error(transparent)]
    Tree(#[from] CgroupTreeError),
    /// A map could not be read.
    #[error("reading the eBPF maps: {0}")]
    Map(#[from] MapError),
    /// A ring buffer could not be waited for.
    #[error("waiting for a ring buffer: {0}")]
    Ring(#[from] io::Error),
}

/// Which ring has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Swap-out records.
    Events,
    /// Cgroup records.
    Cgroups,
}

/// Attached programs, the cgroup tree and the index of units.
pub struct Observer {
    /// Programs and counters.
    pub probes: Probes,
    /// Who owns which cgroup.
    pub index: UnitIndex,
    /// The tree on disk.
    pub tree: CgroupTree,
    events: Ring,
    cgroups: Ring,
    cgroup_drops: u64,
    undecodable: u64,
}

impl Observer {
    /// Attaches the programs, then reads the tree: a cgroup made in between is in both, none is in neither.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If something required is missing on this host.
    pub fn open(options: Options) -> Result<Self, ObserveError> {
        let tree = CgroupTree::discover(Path::new("/"))?;
        let (probes, rings) = Probes::open(Options {
            memory_hierarchy: tree.hierarchy,
            ..options
        })?;
        let mut observer = Self {
            probes,
            index: UnitIndex::new(),
            tree,
            events: Ring::new(rings.events)?,
            cgroups: Ring::new(rings.cgroups)?,
            cgroup_drops: 0,
            undecodable: 0,
        };
        observer.scan()?;
        Ok(observer)
    }

    /// Reads the whole tree again.
    ///
    /// # Errors
    /// If the root of the tree cannot be read.
    pub fn scan(&mut self) -> Result<ScanUpdate, ObserveError> {
        let token = self.index.scan_token();
        let scan = self.tree.scan()?;
        Ok(self.index.apply_scan(token, &scan))
    }

    /// Waits until either ring may have records. Cancel-safe.
    ///
    /// # Errors
    /// If the wait itself fails.
    pub async fn ready(&mut self) -> io::Result<Ready> {
        tokio::select! {
            biased; // A new cgroup's name comes before its pages.
            done = self.cgroups.readable() => done.map(|()| Ready::Cgroups),
            done = self.events.readable() => done.map(|()| Ready::Events),
        }
    }

    /// Takes over every waiting cgroup record; `true` if the tree has to be read again, because a record was lost or
    /// did not suffice: with [`Self::scan`], or elsewhere and [`Self::take_scan`].
    ///
    /// # Errors
    /// If the counters cannot be read.
    pub fn drain_cgroups(&mut self) -> Result<(Vec<LifeUpdate>, bool), ObserveError> {
        let mut updates = Vec::new();
        let mut scan = false;
        let (index, undecodable) = (&mut self.index, &mut self.undecodable);
        self.cgroups
            .drain(usize::MAX, |record| match decode::decode(record) {
                Ok(Event::Cgroup(life)) => match index.apply_life(&life) {
                    LifeUpdate::NeedsScan => scan = true,
                    LifeUpdate::Unchanged => {}
                    update => updates.push(update),
                },
                Ok(Event::SwapOut(_)) | Err(_) => *undecodable += 1,
            });
        let drops = self.probes.totals()?.cgroup_ring_drops;
        scan |= drops != self.cgroup_drops;
        self.cgroup_drops = drops;
        Ok((updates, scan))
    }

    /// Takes over a scan of the tree that was made elsewhere and began when `token` was given.
    pub fn take_scan(&mut self, token: u64, scan: &Scan) -> ScanUpdate {
        self.index.apply_scan(token, scan)
    }

    /// Hands over waiting swap-out records, at most `limit`; `true` if there may be more.
    pub fn drain_events(&mut self, limit: usize, mut each: impl FnMut(&UnitIndex, SwapOut)) -> bool {
        let (index, undecodable) = (&self.index, &mut self.undecodable);
        self.events.drain(limit, |record| match decode::decode(record) {
            Ok(Event::SwapOut(event)) => each(index, event),
            Ok(Event::Cgroup(_)) | Err(_) => *undecodable += 1,
        })
    }

    /// Records that were not what the contract says; 0 unless memmon was built from mismatched sources.
    pub const fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Events that nobody counted: the kernel skipped the first program, because it was already running on that
    /// CPU, and its copies, if there are any, as well.
    ///
    /// # Errors
    /// If the totals cannot be read.
    pub fn recursion_misses(&self) -> Result<u64, MapError> {
        // In this order: see `Totals::missed_events`.
        let totals = self.probes.totals()?;
        Ok(totals.missed_events(self.probes.programs().swap_outs_skipped()))
    }

    /// Events that the ledger of swap writes missed: a task can be preempted inside an fentry program on every
    /// kernel.
    pub fn swap_write_misses(&self) -> u64 {
        let stats = self.probes.stats();
        stats
            .iter()
            .filter(|s| s.name.starts_with("swap_write"))
            .map(|s| s.recursion_misses)
            .sum()
    }
}
