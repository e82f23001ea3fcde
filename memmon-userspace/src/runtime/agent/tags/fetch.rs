//! Bringing back on a thread of its own, with what there is room for now.

use std::{path::PathBuf, time::Instant};

use tokio::task::{JoinError, JoinHandle};

use super::Wanted;
use crate::{
    action::{
        bring_back::{self, BroughtBack},
        measure,
    },
    attribute::tags::Region,
    decode::{MemInfo, Pressure},
    policy,
    source::{cgroupfs::CgroupRoot, proc::Proc, process::ProcessHandle, process_memory::PageRun},
};

/// One at a time: two would count on the same room.
#[derive(Default)]
pub(super) struct Fetching(Option<(u32, JoinHandle<BroughtBack>)>);

impl Fetching {
    pub(super) const fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Begins.
    pub(super) fn begin(
        &mut self,
        wanted: Wanted,
        handle: ProcessHandle,
        regions: &[Region],
        mount: PathBuf,
    ) {
        let runs: Vec<PageRun> = regions
            .iter()
            .map(|region| PageRun {
                start: region.start,
                pages: region.pages(),
            })
            .collect();
        let pid = wanted.pid;
        let fetch = move || {
            let mut room = Room::new(mount, wanted.cgroup);
            bring_back::bring_back(handle, &runs, || room.now())
        };
        self.0 = Some((pid, tokio::task::spawn_blocking(fetch)));
    }

    /// Waits for the end of what was begun; for ever if nothing was. Cancel-safe.
    pub(super) async fn done(&mut self) -> (u32, Result<BroughtBack, JoinError>) {
        match &mut self.0 {
            None => std::future::pending().await,
            Some((pid, task)) => {
                let done = (*pid, task.await);
                self.0 = None;
                done
            }
        }
    }
}

/// Measures how much may come.
struct Room {
    mount: PathBuf,
    cgroup: String,
    root: Option<CgroupRoot>,
    /// The unit's pressure at the beginning.
    before: Option<(Instant, Pressure)>,
}

impl Room {
    fn new(mount: PathBuf, cgroup: String) -> Self {
        Self {
            mount,
            cgroup,
            root: None,
            before: None,
        }
    }

    fn now(&mut self) -> Result<u64, String> {
        if self.root.is_none() {
            let root = CgroupRoot::open(&self.mount);
            self.root = Some(root.map_err(|error| format!("the cgroup tree cannot be opened: {error}"))?);
        }
        let Some(root) = &self.root else {
            return Err("the cgroup tree cannot be opened".to_owned());
        };
        if let Some(pressure) = measure::pressure(root, &self.cgroup).ok().flatten() {
            let (since, before) = *self.before.get_or_insert((Instant::now(), pressure));
            if let Some(why) = policy::pressed(&before, &pressure, since.elapsed()) {
                return Err(why);
            }
        }
        let measured = measure::measure(root, &self.cgroup).map_err(|error| error.to_string())?;
        if !measured.below_complete {
            return Err(
                "there are more cgroups below the unit than could be looked at for limits".to_owned(),
            );
        }
        let text = Proc::default().meminfo().map_err(|error| error.to_string())?;
        let host = MemInfo::parse(&text).map_err(|error| error.to_string())?;
        policy::room(&measured.chain, &measured.below, &host)
    }
}
