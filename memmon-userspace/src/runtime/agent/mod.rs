//! The agent: one task owns everything, and everything else sends to it.
//!
//! The order in which the loop looks at its sources is the order of urgency: the names of new cgroups, then
//! pages of critical units, then what systemd answers, then the rest.

mod ahead;
mod alarms;
mod bringing;
mod chronicle;
mod critical;
mod deliver;
mod farewell;
mod hands;
mod judge;
mod limits;
mod orders;
mod outlooks;
mod outside;
mod own_memory;
mod reflex;
mod regions;
mod reload;
mod reporter;
mod review;
mod said;
mod scan;
mod scrape;
mod service;
mod steps;
mod sums;
mod tags;
mod tell;
mod unknown;
mod verify;
mod view;
mod web;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use self::{
    alarms::Alarms,
    bringing::Bringing,
    chronicle::Chronicle,
    critical::Marks,
    hands::Hands,
    judge::Judge,
    limits::Limits,
    orders::Reverting,
    outlooks::Outlooks,
    outside::{Heard, Outside},
    reload::Reload,
    scan::Scans,
    service::Service,
    sums::Sums,
    tags::{Mirror, Told},
    web::Serving,
};
use super::{
    observer::{ObserveError, Observer, Ready},
    self_test,
};
use crate::{
    action::{
        ExecutorError,
        systemd::{Bus, Report},
    },
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
        probes::Options,
        proc,
        systemd::{self, SystemdOptions},
    },
};

/// Records handled before the loop looks at its other sources again.
const BATCH: usize = 1024;
/// Jobs and reports that may wait between the loop and the task that talks to systemd.
const CHANNEL: usize = 64;
/// Units that get sums of their own; further ones are counted together.
const UNITS: usize = 10_000;
/// Pairs of victim and reclaimer, likewise.
const BLAMED: usize = 20_000;
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
    outlooks: Outlooks,
    states: HashMap<Arc<str>, State>,
    sums: Sums,
    /// When the counters were read that the sums stand for.
    counted: MonoTime,
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
    /// Units with a lease that were started again, until systemd has told how things are.
    started_again: BTreeSet<Arc<str>>,
    /// A configuration that is about to be in force.
    reload: Option<Reload>,
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
    own_memory::keep_little();
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
        let opened = hands::open(&options, &config, &tree.mount, with_systemd)?;
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
    let page = web::guard(&config.http, &sockets).unwrap_or_else(|error| {
        degraded.push(format!("the web page is not served: {error}"));
        None
    });
    let serving = Serving { sockets, page };
    let (outside, tags) = Outside::open(Bus::System, &observer, tree.clone(), &config, serving)?;
    let mut agent = Agent {
        degraded,
        counters: Counters::default(),
        sums: Sums::new(observer.probes.has("swap_read")),
        counted: started,
        observer,
        config: Arc::new(config),
        options,
        hands,
        limits: Limits::new(&tree.mount),
        journal: Journal::default(),
        marks: Marks::default(),
        alarms: Alarms::new(started),
        outlooks: Outlooks::new(started),
        states: HashMap::new(),
        verified: "unverified",
        losses: verify::Losses::default(),
        situation: Situation::Normal,
        own_unit: own_unit(&tree),
        next_review: None,
        started,
        outside,
        started_again: BTreeSet::new(),
        reload: None,
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
    let (to_loop, mut tested) = mpsc::channel(1);
    let counters = Arc::clone(agent.observer.probes.counters());
    tokio::spawn(verify::self_test(tree, counters, to_loop));
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
            Some(test) = tested.recv() => agent.self_tested(test),
            Some(matter) = agent.judge.hear() => agent.matter(matter),
            Some(heard) = agent.outside.hear() => agent.heard(heard),
            _ = hangup.recv() => agent.reload(&service),
            () = tokio::time::sleep_until(wake) => {}
        }
        // Also when there is always something more urgent: a storm must neither look like a hang nor keep a
        // lease for ever.
        service.beat();
        agent.reload_if_counted(&service);
        agent.scan_if_due();
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
        let scan = self.scans.next_try();
        let wake = [beat, executor, scan, self.next_review, self.judge.next_look()]
            .into_iter()
            .flatten()
            .fold(far, Ord::min);
        tokio::time::Instant::now() + wake.since(now())
    }
}
