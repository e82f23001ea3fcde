//! The agent: one task owns everything, and everything else sends to it.
//!
//! The order in which the loop looks at its sources is the order of urgency: the names of new cgroups, then
//! pages of critical units, then what systemd answers, then the rest.

mod alarms;
mod bringing;
mod chronicle;
mod critical;
mod deliver;
mod judge;
mod limits;
mod orders;
mod outside;
mod own_memory;
mod reflex;
mod regions;
mod reload;
mod reporter;
mod review;
mod scan;
mod scrape;
mod service;
mod steps;
mod sums;
mod tags;
mod tell;
mod verify;
mod view;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use self::{
    alarms::Alarms,
    bringing::Bringing,
    chronicle::Chronicle,
    critical::Marks,
    judge::Judge,
    limits::Limits,
    orders::Reverting,
    outside::{Heard, Outside},
    scan::Scans,
    service::Service,
    sums::Sums,
    tags::{Mirror, Told},
};
use super::{
    observer::{ObserveError, Observer, Ready},
    self_test,
};
use crate::{
    action::{
        self, Executor, ExecutorError, Outcome,
        systemd::{Bus, Job, Report},
    },
    attribute::UnitFacts,
    config::{Config, Layers, LogLevel},
    export::{
        http,
        journal::{Journal, Message},
        metrics::Counters,
    },
    policy::{MonoTime, Situation, State},
    source::{
        bpf_log,
        cgroup_tree::{CgroupTree, CgroupTreeError},
        cgroupfs::CgroupRoot,
        probes::Options,
        proc,
        systemd::{self, SystemdEvent, SystemdOptions},
    },
};

/// Records handled before the loop looks at its other sources again.
const BATCH: usize = 1024;
/// Jobs and reports that may wait between the loop and the task that talks to systemd.
const CHANNEL: usize = 64;
/// How long leases are given back at the end before the agent leaves them to its next start.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Units that get sums of their own; further ones are counted together.
const UNITS: usize = 10_000;
/// Pairs of victim and reclaimer, likewise.
const BLAMED: usize = 20_000;
/// Where leases are kept.
const LEASE_DIR: &str = "/run/memmon";

/// How to run.
pub struct AgentOptions {
    /// Where the configuration comes from, also at a reload.
    pub layers: Layers,
    /// Change nothing, say everything.
    pub dry_run: bool,
    /// Time between two looks at running alarms and leases.
    pub interval: Duration,
}

/// Why the agent could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The host cannot be observed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// Leases cannot be kept.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// Signals, timers or sockets.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<CgroupTreeError> for AgentError {
    fn from(error: CgroupTreeError) -> Self {
        Self::Observe(error.into())
    }
}

/// What changes limits; absent where memmon only observes.
struct Hands {
    executor: Executor,
    root: CgroupRoot,
    jobs: mpsc::Sender<Job>,
    reports: mpsc::Receiver<Report>,
}

/// The agent's state; one task owns it.
struct Agent {
    observer: Observer,
    config: Arc<Config>,
    options: AgentOptions,
    hands: Option<Hands>,
    limits: Limits,
    journal: Journal,
    marks: Marks,
    alarms: Alarms,
    states: HashMap<Arc<str>, State>,
    sums: Sums,
    counters: Counters,
    losses: verify::Losses,
    /// `exact` once the self-test has passed, else `unverified`.
    verified: &'static str,
    situation: Situation,
    own_unit: Option<String>,
    /// What makes counts or names less than exact, in words.
    degraded: Vec<String>,
    next_review: Option<MonoTime>,
    started: MonoTime,
    outside: Outside,
    /// Callers of `RevertAll` that wait for its end.
    reverting: Vec<Reverting>,
    scans: Scans,
    judge: Judge,
    chronicle: Chronicle,
    mirror: Mirror,
    bringing: Bringing,
}

pub use chronicle::HISTORY;

pub(super) fn now() -> MonoTime {
    MonoTime(proc::monotonic_ns())
}

/// Runs until SIGTERM or SIGINT, then puts every limit back.
///
/// # Errors
/// If the host cannot be observed or the lease file not be kept.
pub async fn run(options: AgentOptions, config: Config) -> Result<(), AgentError> {
    let mut terminate = std::pin::pin!(super::signals::terminate()?);
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    let service = Service::new();
    let mut degraded = Vec::new();
    let mut corrupt = Vec::new();
    let mut outcomes = Vec::new();
    let mut hands = None;

    // Leases of an agent that was killed come back before anything else, even if observing then fails.
    let tree = CgroupTree::discover(Path::new("/"))?;
    let with_systemd = match systemd::booted(Path::new("/")) {
        Ok(()) => true,
        Err(none) => {
            degraded.push(none.to_string());
            false
        }
    };
    if tree.is_v1() {
        degraded
            .push("the memory controller is on cgroup v1: memmon observes and changes nothing".to_owned());
    } else {
        let opened = open_hands(&options, &config, &tree.mount, with_systemd)?;
        corrupt = opened.corrupt;
        outcomes = opened.outcomes;
        hands = Some(opened.hands);
    }
    let mut observer = Observer::open(Options {
        log_level: config.log.bpf_level.bpf(),
        ..Options::default()
    })?;
    degraded.extend(missing_hooks(&observer));
    if config.log.bpf_level != LogLevel::Off {
        bpf_log::follow(observer.probes.ebpf())?;
    }
    let started = now();
    let judge = Judge::new((!tree.is_v1()).then_some(tree.mount.as_path()))?;
    let chronicle = Chronicle::new(Path::new(HISTORY), &config.history);
    let sockets = http::open(&config.listen).unwrap_or_else(|error| {
        degraded.push(format!("no metrics are served: {error}"));
        Vec::new()
    });
    for socket in sockets
        .iter()
        .filter(|socket| socket.is_reachable_from_elsewhere())
    {
        tracing::warn!("metrics are served to other hosts, unencrypted, on {socket}");
    }
    let (outside, tags) = Outside::open(Bus::System, &observer, tree.clone(), &config, sockets)?;
    let mut agent = Agent {
        degraded,
        counters: Counters::default(),
        sums: Sums::new(observer.probes.has("swap_read")),
        observer,
        config: Arc::new(config),
        options,
        hands,
        limits: Limits::new(&tree.mount),
        journal: Journal::default(),
        marks: Marks::default(),
        alarms: Alarms::new(started),
        states: HashMap::new(),
        verified: "unverified",
        losses: verify::Losses::default(),
        situation: Situation::Normal,
        own_unit: own_unit(&tree),
        next_review: None,
        started,
        outside,
        reverting: Vec::new(),
        scans: Scans::new(tree.clone()),
        judge,
        chronicle,
        mirror: Mirror::new(tags),
        bringing: Bringing::default(),
    };
    for text in &corrupt {
        agent.tell_plain(Message::LeaseFileCorrupt, text);
    }
    for reason in agent.degraded.clone() {
        agent.tell_plain(Message::Degraded, &reason);
    }
    agent.tell(&outcomes);
    agent.pump();
    agent.mark_critical();
    own_memory::protect();
    agent.rehearse();
    let mut units = if with_systemd {
        systemd::watch(SystemdOptions::default()).ok()
    } else {
        None
    };
    let (tests, mut wanted) = mpsc::channel(1);
    tokio::spawn(verify::self_test(tree, tests));
    service.ready();

    loop {
        let wake = agent.next_wake(service.next_beat());
        tokio::select! {
            biased;
            () = &mut terminate => break,
            ready = agent.observer.ready() => match ready? {
                Ready::Cgroups => agent.tree_changed()?,
                Ready::Events => {
                    agent.tree_changed()?;
                    while agent.swap_outs() {
                        service.beat();
                        tokio::task::yield_now().await;
                    }
                }
            },
            told = agent.mirror.ready() => match told {
                Told::Pages => while agent.region_hits() {
                    service.beat();
                    tokio::task::yield_now().await;
                },
                Told::News(news) => agent.tags_changed(news),
            },
            Some(scanned) = agent.scans.next() => agent.scanned(scanned),
            Some(report) = next_report(&mut agent.hands) => agent.reported(report),
            cgroups = agent.limits.hit() => agent.limits_hit(&cgroups),
            Some(event) = next(&mut units) => agent.systemd_said(event),
            Some(request) = wanted.recv() => agent.self_test(request),
            Some(matter) = agent.judge.hear() => agent.matter(matter),
            Some(heard) = agent.outside.hear() => agent.heard(heard),
            _ = hangup.recv() => agent.reload(&service),
            () = tokio::time::sleep_until(wake) => {}
        }
        // Also when there is always something more urgent: a storm must neither look like a hang nor keep a
        // lease for ever.
        service.beat();
        agent.review_if_due();
        agent.judge_if_due();
        agent.pump();
        agent.watch_limits();
        agent.answer_reverts();
    }
    service.stopping();
    agent.put_everything_back().await;
    agent.outside.take_leave().await;
    Ok(())
}

struct Opened {
    hands: Hands,
    corrupt: Vec<String>,
    outcomes: Vec<Outcome>,
}

fn open_hands(
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

/// Receives, or waits for ever where nothing will ever come.
async fn next<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_report(hands: &mut Option<Hands>) -> Option<Report> {
    match hands {
        Some(hands) => hands.reports.recv().await,
        None => std::future::pending().await,
    }
}

fn own_unit(tree: &CgroupTree) -> Option<String> {
    let path = self_test::cgroup_of(std::process::id(), tree).ok()?;
    let owner = crate::attribute::unit_name::owner_of(&path);
    (!owner.unit.is_empty()).then(|| owner.unit.to_string())
}

fn missing_hooks(observer: &Observer) -> Vec<String> {
    observer
        .probes
        .hooks()
        .iter()
        .filter_map(|hook| {
            let reason = hook.attached.as_ref().err()?;
            Some(format!(
                "without {} ({}): {reason}",
                hook.planned.role, hook.planned.purpose
            ))
        })
        .collect()
}

impl Agent {
    fn cgroup_removed(&mut self, id: u64) {
        self.unmark(id);
        if let Some(hands) = &mut self.hands {
            let outcomes = hands.executor.cgroup_removed(id);
            self.tell(&outcomes);
        }
    }

    fn reported(&mut self, report: Report) {
        if let Some(hands) = &mut self.hands {
            let outcomes = hands.executor.report(report);
            self.tell(&outcomes);
        }
    }

    fn systemd_said(&mut self, event: SystemdEvent) {
        match event {
            SystemdEvent::Snapshot { version, units } => {
                tracing::debug!("systemd {version} knows {} units with cgroups", units.len());
                for problem in units.iter().flat_map(|unit| &unit.problems) {
                    tracing::warn!("{problem}");
                }
                self.observer.index.set_all_facts(&units);
                self.mark_critical();
                // After a lost connection a reload may have passed unseen.
                if let Some(hands) = &mut self.hands {
                    hands.executor.reloaded();
                }
            }
            SystemdEvent::Unit(unit) => {
                for problem in &unit.problems {
                    tracing::warn!("{problem}");
                }
                self.observer.index.set_facts(&unit.name, UnitFacts::from(&unit));
                self.mark_unit(&unit.name);
            }
            SystemdEvent::Removed(name) => self.observer.index.clear_facts(&name),
            // The snapshot that follows a reload has the leases looked at.
            SystemdEvent::Reloading(_) => {}
            SystemdEvent::Lost(why) => {
                tracing::warn!("systemd cannot be reached: {why}; limits change in cgroup files, leases wait")
            }
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Order(order) => self.obey(order),
            Heard::Ask(ask) => self.show(ask),
        }
    }

    fn pump(&mut self) {
        if let Some(hands) = &mut self.hands {
            hands.executor.pump(&hands.jobs);
        }
    }

    /// When the loop has to run without being woken.
    fn next_wake(&self, beat: Option<MonoTime>) -> tokio::time::Instant {
        let far = now().after(Duration::from_secs(3600));
        let executor = self.hands.as_ref().and_then(|hands| hands.executor.next_wakeup());
        let wake = [beat, executor, self.next_review, self.judge.next_look()]
            .into_iter()
            .flatten()
            .fold(far, Ord::min);
        tokio::time::Instant::now() + wake.since(now())
    }

    /// SIGTERM: every lease ends now, whatever the situation is.
    async fn put_everything_back(&mut self) {
        let Some(hands) = &mut self.hands else { return };
        let outcomes = hands.executor.revert_all("memmon stops");
        self.tell(&outcomes);
        let deadline = tokio::time::Instant::now() + LAST_WORDS;
        while let Some(hands) = &mut self.hands {
            if hands.executor.is_settled() {
                return;
            }
            hands.executor.pump(&hands.jobs);
            let pause = hands
                .executor
                .next_wakeup()
                .map_or(LAST_WORDS, |wake| wake.since(now()));
            tokio::select! {
                report = hands.reports.recv() => match report {
                    Some(report) => self.reported(report),
                    None => return,
                },
                () = tokio::time::sleep(pause) => {}
                () = tokio::time::sleep_until(deadline) => {
                    tracing::error!(
                        "some leases could not be given back within {} s; the next start of memmon does it",
                        LAST_WORDS.as_secs()
                    );
                    return;
                }
            }
        }
    }
}
