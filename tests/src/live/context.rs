//! What every live case needs.

use std::{
    cell::Cell,
    env,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result, ensure};
use memmon::source::{
    cgroup_tree::CgroupTree,
    probes::{Options, Probes, Rings},
};

use crate::{
    host::{cgroup::Cgroup, zram::Zram},
    live::worker::client::{Region, Workload},
};

/// Bytes of swap for the cases: several times what any of them pushes out at once.
const SWAP_BYTES: u64 = 2 << 30;

/// The borrowed host.
pub struct Context {
    /// The hierarchy with the memory controller.
    pub tree: CgroupTree,
    /// The `memmon` binary under test.
    pub memmon: PathBuf,
    this: PathBuf,
    made: Cell<u32>,
    _swap: Zram,
}

impl Context {
    /// Sets up swap.
    ///
    /// # Errors
    /// If this is not root, or the host lacks something that every case needs.
    pub fn new(memmon: PathBuf) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "the live tests need root");
        Ok(Self {
            tree: CgroupTree::discover(Path::new("/"))?,
            memmon,
            this: env::current_exe().context("finding this program")?,
            made: Cell::new(0),
            _swap: Zram::claim(SWAP_BYTES)?,
        })
    }

    /// A new cgroup at the top of the tree.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn cgroup(&self, name: &str) -> Result<Cgroup> {
        Cgroup::create(&self.tree, &self.name(name))
    }

    /// A name that no other run and no other case uses: ids of removed cgroups stay known to memmon.
    pub fn name(&self, name: &str) -> String {
        self.made.set(self.made.get() + 1);
        format!("memmon-live-{}-{}-{name}", process::id(), self.made.get())
    }

    /// A process inside `cgroup` that does what it is told.
    ///
    /// # Errors
    /// If it cannot be started or moved.
    pub fn workload(&self, cgroup: &Cgroup) -> Result<Workload> {
        let workload = Workload::start(&self.this, &["workload"])?;
        cgroup.add(workload.pid)?;
        Ok(workload)
    }

    /// A process inside `cgroup` with `pages` of anonymous memory, filled.
    ///
    /// # Errors
    /// If it cannot be started or moved.
    pub fn filled(&self, cgroup: &Cgroup, pages: u64) -> Result<(Workload, Region)> {
        let mut workload = self.workload(cgroup)?;
        let region = workload.map("anon", pages)?;
        workload.on("fill", region, "")?;
        Ok((workload, region))
    }

    /// Attached programs for this host's hierarchy.
    ///
    /// # Errors
    /// If the kernel refuses them.
    pub fn probes(&self, options: Options) -> Result<(Probes, Rings)> {
        Ok(Probes::open(Options {
            memory_hierarchy: self.tree.hierarchy,
            ..options
        })?)
    }
}

/// The agent's binary: `MEMMON`, or beside this program.
///
/// # Errors
/// If this program does not know where it is.
pub fn memmon_beside_us() -> Result<PathBuf> {
    match env::var_os("MEMMON") {
        Some(path) => Ok(path.into()),
        None => Ok(env::current_exe()
            .context("finding this program")?
            .with_file_name("memmon")),
    }
}
