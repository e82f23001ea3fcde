//! Tags: which process has declared what critical, for as long as it lives, and what the kernel is told of it.
//!
//! Three pieces, each with one owner: [`owner`], a task on the outside thread, has the tags; [`publish`] brings them
//! into the kernel's tables for it; [`mirror`], in the loop, knows just enough to name a page that was hit.

mod fetch;
mod mirror;
mod owner;
mod publish;
mod totals;

use std::sync::Arc;

use aya::maps::{MapData, RingBuf};
use tokio::sync::{mpsc, oneshot};

pub(super) use self::{
    mirror::{Mirror, Told},
    owner::own,
};
use crate::{
    action::bring_back::BroughtBack,
    attribute::tags::Label,
    export::{dbus::TagRequest, json::report::RegionField},
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
    from_loop: mpsc::Receiver<ForOwner>,
    news: mpsc::Sender<News>,
}

/// The loop's end.
pub(super) struct TagsNews {
    pub(super) news: mpsc::Receiver<News>,
    pub(super) to_owner: mpsc::Sender<ForOwner>,
}

enum Question {
    View(oneshot::Sender<TagsView>),
    Dump(u32, oneshot::Sender<String>),
}

/// What the loop has to know.
pub(super) enum News {
    /// Page level is attached; its records come by this ring.
    Attached(RingBuf<MapData>),
    /// It is about to be detached.
    Detached,
    /// The labels of a process, all of them; none if it has no tags any more.
    Labels {
        pid: u32,
        /// Unit of the process.
        unit: String,
        labels: Vec<Label>,
    },
    /// What came of bringing a process's pages back.
    BroughtBack { pid: u32, outcome: BroughtBack },
}

/// What the loop wants of the owner.
#[derive(Debug)]
pub(super) enum ForOwner {
    Dropped(Dropped),
    BringBack(Wanted),
}

/// Pages of a process are to be brought back, as far as there is room.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) pid: u32,
    /// Cgroup of the unit.
    pub(super) cgroup: String,
}

/// The kernel has dropped the tags of a process, because it ended or executes another program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped {
    pub(super) pid: u32,
    pub(super) generation: u32,
}

/// The tags at one moment.
pub(super) struct TagsView {
    pub(super) processes: usize,
    pub(super) ranges: usize,
    pub(super) regions: Vec<RegionField>,
    /// Pages that went to swap by unit and label, those of tags that have ended included. They never fall.
    pub(super) totals: Vec<(Arc<str>, Arc<str>, u64)>,
}

/// Channels of so many messages.
pub(super) fn channels(capacity: usize) -> (TagsHandle, TagsInbox, TagsNews) {
    let (requests, tag_requests) = mpsc::channel(capacity);
    let (questions, to_answer) = mpsc::channel(capacity);
    let (news, to_loop) = mpsc::channel(capacity);
    let (to_owner, from_loop) = mpsc::channel(capacity);
    let inbox = TagsInbox {
        requests: tag_requests,
        questions: to_answer,
        from_loop,
        news,
    };
    let news = TagsNews {
        news: to_loop,
        to_owner,
    };
    (TagsHandle { requests, questions }, inbox, news)
}

impl TagsHandle {
    /// What there is; `None` if the owner has ended.
    pub(super) async fn view(&self) -> Option<TagsView> {
        let (answer, view) = oneshot::channel();
        self.questions.send(Question::View(answer)).await.ok()?;
        view.await.ok()
    }

    /// All ranges as text, those of other users' processes left out; `None` if the owner has ended.
    pub(super) async fn dump(&self, uid: u32) -> Option<String> {
        let (answer, text) = oneshot::channel();
        self.questions.send(Question::Dump(uid, answer)).await.ok()?;
        text.await.ok()
    }
}
