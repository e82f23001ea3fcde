//! What changes limits, and how it comes to be.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::{AgentError, AgentOptions, CHANNEL, now};
use crate::{
    action::{
        self, Executor, Outcome,
        systemd::{Bus, Job, Report},
    },
    config::Config,
    source::cgroupfs::CgroupRoot,
};

/// Where leases are kept.
const LEASE_DIR: &str = "/run/memmon";

/// What changes limits; absent where memmon only observes.
pub(super) struct Hands {
    pub(super) executor: Executor,
    pub(super) root: CgroupRoot,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) reports: mpsc::Receiver<Report>,
}

/// [`Hands`], and what came of the leases that were found.
pub(super) struct Opened {
    pub(super) hands: Hands,
    pub(super) corrupt: Vec<String>,
    pub(super) outcomes: Vec<Outcome>,
}

/// Opens the lease file, gives back what an earlier agent has left, and starts the task that talks to systemd.
pub(super) fn open(
    options: &AgentOptions,
    config: &Config,
    mount: &Path,
    with_systemd: bool,
) -> Result<Opened, AgentError> {
    let (executor, recovered, outcomes) = Executor::open(action::Options {
        cgroup_root: mount.to_path_buf(),
        lease_dir: PathBuf::from(LEASE_DIR),
        dry_run: options.dry_run,
        write_path: config.reaction.write_path,
        systemd: with_systemd,
        page_size: rustix::param::page_size() as u64,
        clock: Box::new(now),
    })?;
    let (jobs, for_worker) = mpsc::channel(CHANNEL);
    let (from_worker, reports) = mpsc::channel(CHANNEL);
    tokio::spawn(action::systemd::work(
        Bus::System,
        PathBuf::from("/"),
        for_worker,
        from_worker,
    ));
    let root = CgroupRoot::open(mount)?;
    let corrupt = recovered.corrupt.iter().map(corrupt_in_words).collect();
    let hands = Hands {
        executor,
        root,
        jobs,
        reports,
    };
    Ok(Opened {
        hands,
        corrupt,
        outcomes,
    })
}

fn corrupt_in_words(corrupt: &action::Corrupt) -> String {
    let named = if corrupt.named.is_empty() {
        "nothing".to_owned()
    } else {
        corrupt.named.join(", ")
    };
    format!(
        "the lease file is damaged from line {} on; it is kept as {} and nothing was guessed; its intact lines name {named}: \
         compare these limits with what they should be",
        corrupt.line,
        corrupt.kept.display()
    )
}
