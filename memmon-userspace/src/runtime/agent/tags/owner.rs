//! The task that owns the tags.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt::Write as _,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot},
    task::JoinError,
};

use super::{
    Dropped, ForOwner, News, Question, TagsInbox, TagsView, Wanted,
    fetch::Fetching,
    publish::{Kernel, NotPublished},
    totals::Totals,
};
use crate::{
    action::bring_back::BroughtBack,
    attribute::{
        tags::{Label, Limits, ProcessKey, TagError, Tagged, Tags},
        unit_name,
    },
    decode::process,
    export::{
        dbus::{Process, Refused, TagRequest, Tagging},
        json::report::{BringBackField, RegionField},
    },
    runtime::agent::reporter::sort_regions,
    source::{cgroup_tree::CgroupTree, proc, process::ProcessHandle},
};

/// How long page level stays attached after the last tag: attaching costs much, and whoever has tagged once is
/// likely to do it again.
const LINGER: Duration = Duration::from_secs(600);
/// Between two looks for tags that the kernel dropped unheard.
const SWEEP: Duration = Duration::from_secs(60);

/// What is known of a process besides its tags.
struct Held {
    comm: String,
    unit: String,
    handle: ProcessHandle,
    labels: Vec<Label>,
    /// What came of the last try to bring its pages back.
    brought_back: Option<BroughtBack>,
    /// Waits for its end; ends with the tags.
    watch: tokio::task::AbortHandle,
}

impl Held {
    /// Whether the process lives and executes what it did.
    fn is_still(&self, key: &ProcessKey) -> bool {
        Process::of(&self.handle).is_ok_and(|(now, _)| now == *key)
    }
}

/// The tags of a process that the kernel does not know yet.
struct Waiting {
    not_before: Instant,
    answers: Vec<(u64, oneshot::Sender<Result<u64, Refused>>)>,
}

struct Owner {
    tags: Tags,
    held: HashMap<u32, Held>,
    waiting: BTreeMap<u32, Waiting>,
    kernel: Kernel,
    totals: Totals,
    tree: CgroupTree,
    fetching: Fetching,
    /// Whose pages are wanted next; each process at most once, as the loop waits for an outcome.
    wanted: VecDeque<Wanted>,
    gone: mpsc::Sender<ProcessKey>,
    news: mpsc::Sender<News>,
    /// Since when there has been no tag.
    idle: Option<Instant>,
    swept: Instant,
}

/// Owns the tags until nobody can ask any more.
pub(in crate::runtime::agent) async fn own(mut inbox: TagsInbox, tree: CgroupTree) {
    let (gone, mut ended) = mpsc::channel(1);
    let mut owner = Owner {
        tags: Tags::new(Limits::default()),
        held: HashMap::new(),
        waiting: BTreeMap::new(),
        kernel: Kernel::new(tree.hierarchy),
        totals: Totals::default(),
        tree,
        fetching: Fetching::default(),
        wanted: VecDeque::new(),
        gone,
        news: inbox.news.clone(),
        idle: None,
        swept: Instant::now(),
    };
    loop {
        let wake = owner.next_wake();
        tokio::select! {
            biased;
            Some(message) = inbox.from_loop.recv() => match message {
                ForOwner::Dropped(dropped) => owner.dropped(dropped).await,
                ForOwner::BringBack(wanted) => owner.wanted.push_back(wanted),
            },
            (pid, outcome) = owner.fetching.done() => owner.fetched(pid, outcome).await,
            Some(key) = ended.recv() => owner.ended(&key).await,
            request = inbox.requests.recv() => match request {
                Some(request) => owner.request(request).await,
                None => return,
            },
            Some(question) = inbox.questions.recv() => owner.answer(question),
            () = tokio::time::sleep_until(wake.into()) => owner.tidy().await,
        }
        owner.publish(Instant::now()).await;
        owner.fetch().await;
    }
}

impl Owner {
    async fn request(&mut self, request: TagRequest) {
        let TagRequest {
            process,
            what,
            answer,
        } = request;
        let pid = process.key.pid;
        let changed = match what {
            Tagging::Tag { start, length, label } => self.tag(process, start, length, &label).await,
            Tagging::Untag { id } => self
                .tags
                .untag(&process.key, id)
                .map(|()| id)
                .map_err(Refused::Tag),
        };
        match changed {
            // The caller may have given up. Its tag stays: it ends with its process as every other.
            Err(refused) => drop(answer.send(Err(refused))),
            Ok(id) if self.tags.get(pid).is_none() => {
                self.let_go(pid).await;
                drop(answer.send(Ok(id)));
            }
            Ok(id) => {
                self.tell_labels(pid).await;
                let waiting = self.waiting.entry(pid).or_insert_with(|| Waiting {
                    not_before: Instant::now(),
                    answers: Vec::new(),
                });
                waiting.answers.push((id, answer));
            }
        }
    }

    async fn tag(&mut self, process: Process, start: u64, length: u64, label: &str) -> Result<u64, Refused> {
        let pid = process.key.pid;
        match self.kernel.attach().await {
            Ok(Some(ring)) => {
                self.totals.counters_are_new();
                self.tell(News::Attached(ring)).await;
            }
            Ok(None) => {}
            Err(why) => return Err(Refused::Unavailable(why)),
        }
        if self.tags.get(pid).is_some_and(|known| known.key != process.key) {
            self.tags.forget(pid);
            self.let_go(pid).await;
        }
        let id = self.tags.tag(&process.key, process.uid, start, length, label)?;
        if !self.held.contains_key(&pid) {
            self.hold(process);
        }
        self.idle = None;
        Ok(id)
    }

    fn hold(&mut self, process: Process) {
        let cgroup = process::cgroup(&process.cgroups, self.tree.hierarchy, "memory").unwrap_or_default();
        let unit = unit_name::owner_of(&cgroup).unit.to_owned();
        let watch = match process.handle.try_clone() {
            Ok(pidfd) => tokio::spawn(watch(pidfd, process.key.clone(), self.gone.clone())).abort_handle(),
            Err(error) => {
                tracing::error!("the end of process {} may go unnoticed: {error}", process.key.pid);
                tokio::spawn(async {}).abort_handle()
            }
        };
        let held = Held {
            comm: process.comm,
            unit,
            handle: process.handle,
            labels: Vec::new(),
            brought_back: None,
            watch,
        };
        self.held.insert(process.key.pid, held);
    }

    /// The process has no tags any more.
    async fn let_go(&mut self, pid: u32) {
        self.kernel.clear(pid);
        if let Some(held) = self.held.remove(&pid) {
            held.watch.abort();
            let (unit, labels) = (held.unit, Vec::new());
            self.tell(News::Labels { pid, unit, labels }).await;
        }
        for (id, answer) in self
            .waiting
            .remove(&pid)
            .into_iter()
            .flat_map(|waiting| waiting.answers)
        {
            let tags = 0;
            drop(answer.send(Err(TagError::Unknown { id, tags }.into())));
        }
        if self.held.is_empty() {
            self.idle = Some(Instant::now());
        }
    }

    async fn ended(&mut self, key: &ProcessKey) {
        if self.tags.get(key.pid).is_some_and(|known| known.key == *key) {
            tracing::debug!("process {} has ended, and with it its tags", key.pid);
            self.tags.forget(key.pid);
            self.let_go(key.pid).await;
        }
    }

    /// The kernel has dropped the tags of a process: it ended, or executes another program.
    async fn dropped(&mut self, Dropped { pid, generation }: Dropped) {
        let Some(probes) = &mut self.kernel.probes else {
            return;
        };
        if probes.tags_gone(pid, generation, proc::monotonic_ns()) && self.tags.forget(pid) {
            self.let_go(pid).await;
        }
    }

    /// Brings changed tags into force and answers those who wait for it.
    async fn publish(&mut self, now: Instant) {
        let due: Vec<u32> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.not_before <= now)
            .map(|(pid, _)| *pid)
            .collect();
        for pid in due {
            let (Some(process), Some(held)) = (self.tags.get(pid), self.held.get(&pid)) else {
                self.waiting.remove(&pid);
                continue;
            };
            let result = match self.kernel.publish(process) {
                Err(NotPublished::Later(pause)) => {
                    if let Some(waiting) = self.waiting.get_mut(&pid) {
                        waiting.not_before = now + pause;
                    }
                    continue;
                }
                Err(NotPublished::Failed(why)) => Err(Refused::Kernel(why)),
                Ok(()) => Ok(()),
            };
            if let Err(refused) = &result {
                tracing::error!("process {pid}: {refused}");
            }
            // If it ended, or executed another program, before the tags came into force, the kernel has not taken
            // them away with it.
            if !held.is_still(&process.key) {
                self.tags.forget(pid);
                self.let_go(pid).await;
                continue;
            }
            let answers = self
                .waiting
                .remove(&pid)
                .into_iter()
                .flat_map(|waiting| waiting.answers);
            for (id, answer) in answers {
                drop(answer.send(result.clone().map(|()| id)));
            }
        }
    }

    /// Tells the loop of labels that have come or gone.
    async fn tell_labels(&mut self, pid: u32) {
        let (Some(process), Some(held)) = (self.tags.get(pid), self.held.get_mut(&pid)) else {
            return;
        };
        let labels: Vec<Label> = process.labels().collect();
        if labels == held.labels {
            return;
        }
        held.labels.clone_from(&labels);
        let unit = held.unit.clone();
        self.totals.name(&unit, &labels);
        self.tell(News::Labels { pid, unit, labels }).await;
    }

    /// Begins with the next process whose pages are wanted.
    async fn fetch(&mut self) {
        while self.fetching.is_idle()
            && let Some(wanted) = self.wanted.pop_front()
        {
            let pid = wanted.pid;
            let (Some(process), Some(held)) = (self.tags.get(pid), self.held.get(&pid)) else {
                // The loop hears of its end, too.
                continue;
            };
            match held
                .handle
                .try_clone()
                .map_err(|error| error.to_string())
                .and_then(|pidfd| ProcessHandle::from_fd(pidfd).map_err(|error| error.to_string()))
            {
                Ok(handle) => {
                    let mount = self.tree.mount.clone();
                    self.fetching.begin(wanted, handle, &process.regions, mount);
                }
                Err(why) => self.fetched(pid, Ok(BroughtBack::not_tried(why))).await,
            }
        }
    }

    async fn fetched(&mut self, pid: u32, outcome: Result<BroughtBack, JoinError>) {
        let outcome = outcome.unwrap_or_else(|error| BroughtBack::not_tried(error.to_string()));
        if let Some(held) = self.held.get_mut(&pid) {
            held.brought_back = Some(outcome.clone());
        }
        self.tell(News::BroughtBack { pid, outcome }).await;
    }

    /// Exclusive, as the mapped counters are not [`Sync`]: the task could not wait with a shared borrow.
    async fn tell(&mut self, news: News) {
        // The loop has ended.
        let _ = self.news.send(news).await;
    }

    fn next_wake(&self) -> Instant {
        let waiting = self.waiting.values().map(|waiting| waiting.not_before);
        let idle = self.idle.map(|since| since + LINGER);
        let sweep = (!self.held.is_empty()).then(|| self.swept + SWEEP);
        let far = Instant::now() + Duration::from_secs(3600);
        waiting.chain(idle).chain(sweep).fold(far, Ord::min)
    }

    /// What is done when nothing else is: tags that were dropped unheard, and page level that nobody needs.
    async fn tidy(&mut self) {
        let now = Instant::now();
        self.kernel.forget_budgets(now);
        if !self.held.is_empty() && now.duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.count();
            let gone = match &mut self.kernel.probes {
                Some(probes) => probes.sweep(proc::monotonic_ns()).unwrap_or_else(|error| {
                    tracing::error!("looking for tags that are gone: {error}");
                    Vec::new()
                }),
                None => Vec::new(),
            };
            let ended = self.held.iter().filter(|(_, held)| held.handle.is_gone());
            let gone: Vec<u32> = gone.into_iter().chain(ended.map(|(pid, _)| *pid)).collect();
            for pid in gone {
                self.tags.forget(pid);
                self.let_go(pid).await;
            }
        }
        if self.idle.is_some_and(|since| now.duration_since(since) >= LINGER) {
            self.idle = None;
            self.count();
            self.tell(News::Detached).await;
            self.kernel.detach();
            tracing::info!("page level is detached: nothing is tagged any more");
        }
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may have given up.
        match question {
            Question::View(answer) => drop(answer.send(self.view())),
            Question::Dump(uid, answer) => drop(answer.send(self.dump(uid))),
        }
    }

    /// Takes the kernel's counters over; those of labels that are gone end with that.
    fn count(&mut self) -> HashMap<u32, u64> {
        let known: HashSet<u32> = self
            .held
            .values()
            .flat_map(|held| held.labels.iter().map(|label| label.number))
            .collect();
        let counted = self.kernel.hits(|label| known.contains(&label));
        self.totals.count(&counted, |label| known.contains(&label));
        counted
    }

    fn view(&mut self) -> TagsView {
        let hits = self.count();
        let mut regions = Vec::new();
        for process in self.tags.processes() {
            let mut pages: BTreeMap<u32, u64> = BTreeMap::new();
            for region in process.regions.iter() {
                *pages.entry(region.label.number).or_default() += region.pages();
            }
            let bring_back = self
                .held
                .get(&process.key.pid)
                .and_then(|held| held.brought_back.as_ref())
                .map(bring_back_field);
            regions.extend(process.labels().map(|label| RegionField {
                unit: self.unit_of(process).to_owned(),
                label: label.name.to_string(),
                pid: Some(process.key.pid),
                pages: pages.get(&label.number).copied().unwrap_or(0),
                swapout_pages: Some(hits.get(&label.number).copied().unwrap_or(0)),
                bring_back: bring_back.clone(),
                uid: process.uid,
            }));
        }
        sort_regions(&mut regions);
        TagsView {
            processes: self.tags.processes().count(),
            ranges: self.tags.ranges(),
            regions,
            totals: self.totals.by_region(),
        }
    }

    fn unit_of(&self, process: &Tagged) -> &str {
        self.held
            .get(&process.key.pid)
            .map_or("unknown", |held| held.unit.as_str())
    }

    fn dump(&self, uid: u32) -> String {
        let mut text = String::new();
        let shown = self
            .tags
            .processes()
            .filter(|process| uid == 0 || process.uid == uid);
        for process in shown {
            let pid = process.key.pid;
            let comm = self.held.get(&pid).map_or("?", |held| held.comm.as_str());
            let unit = self.unit_of(process);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{pid} {comm} {unit}: {} tags", process.tags());
            for region in process.regions.iter() {
                let _ = writeln!(
                    text,
                    "  {:#x}-{:#x} {}",
                    region.start, region.end, region.label.name
                );
            }
        }
        text
    }
}

fn bring_back_field(outcome: &BroughtBack) -> BringBackField {
    BringBackField {
        asked_pages: outcome.asked,
        back_pages: outcome.back,
        still_out_pages: outcome.still_out,
        reason: outcome.why.clone(),
    }
}

/// Waits until the process has ended.
async fn watch(pidfd: OwnedFd, key: ProcessKey, gone: mpsc::Sender<ProcessKey>) {
    let ended = async {
        // SAFETY: an OwnedFd keeps its descriptor open and its own until it is dropped, with the registration.
        let fd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        fd.readable().await.map(drop)
    };
    if let Err(error) = ended.await {
        let error: std::io::Error = error;
        tracing::error!("the end of process {} goes unnoticed: {error}", key.pid);
        return;
    }
    // The owner has ended.
    let _ = gone.send(key).await;
}
