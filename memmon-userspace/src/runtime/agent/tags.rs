//! The owner of the tags: which process has declared what critical, for as long as it lives.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    os::fd::OwnedFd,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot},
};

use super::reporter::sort_regions;
use crate::{
    attribute::{
        tags::{ProcessKey, TagError, Tagged, Tags},
        unit_name,
    },
    decode::process,
    export::{
        dbus::{Process, TagRequest, Tagging},
        json::report::RegionField,
    },
    source::cgroup_tree::CgroupTree,
};

/// Ways to the owner.
#[derive(Clone)]
pub(super) struct TagsHandle {
    pub(super) requests: mpsc::Sender<TagRequest>,
    questions: mpsc::Sender<Question>,
}

/// The owner's end.
pub(super) struct TagsInbox {
    requests: mpsc::Receiver<TagRequest>,
    questions: mpsc::Receiver<Question>,
}

enum Question {
    View(oneshot::Sender<TagsView>),
    Dump(u32, oneshot::Sender<String>),
}

/// The tags at one moment.
pub(super) struct TagsView {
    pub(super) processes: usize,
    pub(super) ranges: usize,
    pub(super) regions: Vec<RegionField>,
}

impl TagsHandle {
    pub(super) fn new(capacity: usize) -> (Self, TagsInbox) {
        let (requests, tag_requests) = mpsc::channel(capacity);
        let (questions, to_answer) = mpsc::channel(capacity);
        let inbox = TagsInbox {
            requests: tag_requests,
            questions: to_answer,
        };
        (Self { requests, questions }, inbox)
    }

    /// What there is; `None` if the owner has ended.
    pub(super) async fn view(&self) -> Option<TagsView> {
        let (answer, view) = oneshot::channel();
        self.questions.send(Question::View(answer)).await.ok()?;
        view.await.ok()
    }

    /// All ranges as text, addresses of other users' processes left out; `None` if the owner has ended.
    pub(super) async fn dump(&self, uid: u32) -> Option<String> {
        let (answer, text) = oneshot::channel();
        self.questions.send(Question::Dump(uid, answer)).await.ok()?;
        text.await.ok()
    }
}

/// What is known of a process besides its tags.
struct Held {
    comm: String,
    unit: String,
    /// Waits for its end; ends with the tags.
    watch: tokio::task::AbortHandle,
}

struct Owner {
    tags: Tags,
    held: HashMap<u32, Held>,
    gone: mpsc::Sender<ProcessKey>,
    tree: CgroupTree,
}

/// Owns the tags until nobody can ask any more.
pub(super) async fn own(mut inbox: TagsInbox, tree: CgroupTree) {
    let (gone, mut ended) = mpsc::channel(1);
    let mut owner = Owner {
        tags: Tags::new(crate::attribute::tags::Limits::default()),
        held: HashMap::new(),
        gone,
        tree,
    };
    loop {
        tokio::select! {
            biased;
            Some(key) = ended.recv() => owner.ended(&key),
            request = inbox.requests.recv() => match request {
                Some(request) => owner.request(request),
                None => return,
            },
            Some(question) = inbox.questions.recv() => owner.answer(question),
        }
    }
}

impl Owner {
    fn request(&mut self, request: TagRequest) {
        let TagRequest {
            process,
            what,
            answer,
        } = request;
        let result = match what {
            Tagging::Tag { start, length, label } => self.tag(process, start, length, &label),
            Tagging::Untag { id } => {
                let result = self.tags.untag(&process.key, id);
                if self.tags.get(process.key.pid).is_none() {
                    self.let_go(process.key.pid);
                }
                result.map(|()| id)
            }
        };
        // The caller may have given up. Its tag stays: it ends with its process as every other.
        let _ = answer.send(result);
    }

    fn tag(&mut self, process: Process, start: u64, length: u64, label: &str) -> Result<u64, TagError> {
        let pid = process.key.pid;
        if self.tags.get(pid).is_some_and(|known| known.key != process.key) {
            self.let_go(pid);
        }
        let result = self.tags.tag(&process.key, process.uid, start, length, label);
        if result.is_ok() && !self.held.contains_key(&pid) {
            self.hold(process);
        }
        result
    }

    fn hold(&mut self, process: Process) {
        let cgroup = process::cgroup(&process.cgroups, self.tree.hierarchy, "memory").unwrap_or_default();
        let unit = unit_name::owner_of(&cgroup).unit.to_owned();
        let watch = match process.handle.try_clone() {
            Ok(pidfd) => tokio::spawn(watch(pidfd, process.key.clone(), self.gone.clone())),
            Err(error) => {
                tracing::error!("the end of process {} goes unnoticed: {error}", process.key.pid);
                tokio::spawn(async {})
            }
        };
        let held = Held {
            comm: process.comm,
            unit,
            watch: watch.abort_handle(),
        };
        self.held.insert(process.key.pid, held);
    }

    fn let_go(&mut self, pid: u32) {
        if let Some(held) = self.held.remove(&pid) {
            held.watch.abort();
        }
    }

    fn ended(&mut self, key: &ProcessKey) {
        if self.tags.get(key.pid).is_some_and(|known| known.key == *key) {
            tracing::debug!("process {} has ended, and with it its tags", key.pid);
            self.tags.forget(key.pid);
            self.let_go(key.pid);
        }
    }

    fn answer(&self, question: Question) {
        // Whoever asked may have given up.
        match question {
            Question::View(answer) => drop(answer.send(self.view())),
            Question::Dump(uid, answer) => drop(answer.send(self.dump(uid))),
        }
    }

    fn view(&self) -> TagsView {
        let mut regions = Vec::new();
        for process in self.tags.processes() {
            let mut pages: BTreeMap<&str, u64> = BTreeMap::new();
            for region in process.regions.iter() {
                *pages.entry(&region.label).or_default() += region.pages();
            }
            let field = |(label, pages): (&str, u64)| RegionField {
                unit: self.unit_of(process).to_owned(),
                label: label.to_owned(),
                pid: Some(process.key.pid),
                pages,
                swapout_pages: None,
                uid: process.uid,
            };
            regions.extend(pages.into_iter().map(field));
        }
        sort_regions(&mut regions);
        TagsView {
            processes: self.tags.processes().count(),
            ranges: self.tags.ranges(),
            regions,
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
            let comm = self
                .held
                .get(&process.key.pid)
                .map_or("?", |held| held.comm.as_str());
            let (pid, unit) = (process.key.pid, self.unit_of(process));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{pid} {comm} {unit}: {} tags", process.tags());
            for region in process.regions.iter() {
                let _ = writeln!(text, "  {:#x}-{:#x} {}", region.start, region.end, region.label);
            }
        }
        text
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
        tracing::error!("the end of process {} goes unnoticed: {error}", key.pid);
        return;
    }
    // The owner has ended.
    let _ = gone.send(key).await;
}
