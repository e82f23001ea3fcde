//! The task that owns the tags.

mod force;
mod view;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

use self::force::{Answer, Waiting, unit_of};
use super::{Dropped, ForOwner, News, TagsInbox, Wanted, fetch::Fetching, publish::Kernel, totals::Totals};
use crate::{
    action::bring_back::BroughtBack,
    attribute::tags::{Label, Limits, ProcessKey, TagError, Tags},
    export::dbus::{Found, Process, Refused, TagRequest, Tagging},
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
    /// Numbers of labels that may have been counted, also when they are not in use any more.
    counted: Vec<u32>,
    /// What came of the last try to bring its pages back.
    brought_back: Option<BroughtBack>,
    /// Waits for its end; ends with the tags.
    watch: tokio::task::AbortHandle,
}

impl Held {
    /// The process as it is now; `None` if it has ended or executes something else than it did.
    fn now(&self, key: &ProcessKey) -> Option<Found> {
        let (now, found) = Process::of(&self.handle).ok()?;
        (now == *key).then_some(found)
    }
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
    let (mut owner, mut ended) = Owner::new(inbox.news.clone(), tree);
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
            () = tokio::time::sleep_until(wake.into()) => {}
        }
        owner.publish(Instant::now()).await;
        // Not only when nobody asks for anything.
        owner.tidy().await;
        owner.fetch().await;
    }
}

impl Owner {
    /// Without any tags; and where the ends of processes are heard of.
    fn new(news: mpsc::Sender<News>, tree: CgroupTree) -> (Self, mpsc::Receiver<ProcessKey>) {
        let (gone, ended) = mpsc::channel(1);
        let owner = Self {
            tags: Tags::new(Limits::default()),
            held: HashMap::new(),
            waiting: BTreeMap::new(),
            kernel: Kernel::new(tree.hierarchy),
            totals: Totals::default(),
            tree,
            fetching: Fetching::default(),
            wanted: VecDeque::new(),
            gone,
            news,
            idle: None,
            swept: Instant::now(),
        };
        (owner, ended)
    }

    async fn request(&mut self, request: TagRequest) {
        let TagRequest {
            process,
            what,
            answer,
        } = request;
        let pid = process.key.pid;
        let tags = matches!(what, Tagging::Tag { .. });
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
                let waiting = self
                    .waiting
                    .entry(pid)
                    .or_insert_with(|| Waiting::until(Instant::now()));
                waiting.answers.push(Answer { id, tags, to: answer });
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
        let unit = unit_of(&process.cgroups, self.tree.hierarchy);
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
            counted: Vec::new(),
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
            // Its labels are counted for the last time.
            self.count();
            let (unit, labels) = (held.unit, Vec::new());
            self.tell(News::Labels { pid, unit, labels }).await;
        }
        for Answer { id, to, .. } in self
            .waiting
            .remove(&pid)
            .into_iter()
            .flat_map(|waiting| waiting.answers)
        {
            let tags = 0;
            drop(to.send(Err(TagError::Unknown { id, tags }.into())));
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

    /// Tells the loop of labels that have come or gone.
    async fn tell_labels(&mut self, pid: u32) {
        let (Some(process), Some(held)) = (self.tags.get(pid), self.held.get_mut(&pid)) else {
            return;
        };
        let labels: Vec<Label> = process.labels().collect();
        if labels == held.labels {
            return;
        }
        held.counted.extend(labels.iter().map(|label| label.number));
        held.counted.sort_unstable();
        held.counted.dedup();
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
                // The loop hears of its end, too; but it may have tagged again since.
                let gone = BroughtBack::not_tried("its tags were gone".to_owned());
                self.fetched(pid, gone).await;
                continue;
            };
            let begun = held
                .handle
                .try_clone()
                .map_err(|error| error.to_string())
                .and_then(|pidfd| ProcessHandle::from_fd(pidfd).map_err(|error| error.to_string()))
                .and_then(|handle| {
                    let mount = self.tree.mount.clone();
                    self.fetching.begin(wanted, handle, &process.regions, mount)
                });
            if let Err(why) = begun {
                self.fetched(pid, BroughtBack::not_tried(why)).await;
            }
        }
    }

    async fn fetched(&mut self, pid: u32, outcome: BroughtBack) {
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

    /// What is due from time to time: tags that were dropped unheard, and page level that nobody needs.
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
            self.look_where_they_are().await;
        }
        if self.idle.is_some_and(|since| now.duration_since(since) >= LINGER) {
            self.idle = None;
            self.count();
            self.tell(News::Detached).await;
            self.kernel.detach();
            tracing::info!("page level is detached: nothing is tagged any more");
        }
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

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
