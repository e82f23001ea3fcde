//! What the loop knows of tags: enough to name a page that was hit, and to tell which units have any.

use std::{collections::HashMap, io, sync::Arc};

use tokio::sync::mpsc;

use super::{Dropped, ForOwner, News, TagsNews, Wanted};
use crate::{
    decode::{self, PageEvent, PageOut},
    source::ring::Ring,
};

/// Tagged processes, and the ring with the records of their pages.
pub(in crate::runtime::agent) struct Mirror {
    news: mpsc::Receiver<News>,
    to_owner: mpsc::Sender<ForOwner>,
    ring: Option<Ring>,
    processes: HashMap<u32, Process>,
}

/// What there is to be looked at.
pub(in crate::runtime::agent) enum Told {
    /// Records of pages.
    Pages,
    /// Something that the owner says.
    News(News),
}

struct Process {
    unit: Arc<str>,
    labels: HashMap<u32, Arc<str>>,
}

impl Mirror {
    pub(in crate::runtime::agent) fn new(ends: TagsNews) -> Self {
        Self {
            news: ends.news,
            to_owner: ends.to_owner,
            ring: None,
            processes: HashMap::new(),
        }
    }

    /// Waits for pages of tagged regions, and for news of the owner. Cancel-safe.
    pub(in crate::runtime::agent) async fn ready(&mut self) -> Told {
        let (ring, news) = (&mut self.ring, &mut self.news);
        let broken = tokio::select! {
            biased;
            readable = readable(ring) => match readable {
                Ok(()) => return Told::Pages,
                Err(error) => error,
            },
            Some(news) = news.recv() => return Told::News(news),
        };
        tracing::error!("pages of tagged regions are not seen any more: {broken}");
        self.ring = None;
        Told::Pages
    }

    /// Hands over at most `limit` waiting records; `true` if there may be more.
    pub(in crate::runtime::agent) fn drain(&mut self, limit: usize, pages: &mut Vec<PageOut>) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        let to_owner = &self.to_owner;
        ring.drain(limit, |record| match decode::decode_page(record) {
            Ok(PageEvent::Page(page)) => pages.push(page),
            Ok(PageEvent::TagsGone { tgid, generation }) => {
                // If there is no room, the owner finds out by the end of the process, or by looking.
                let _ = to_owner.try_send(ForOwner::Dropped(Dropped {
                    pid: tgid,
                    generation,
                }));
            }
            Err(error) => tracing::error!("a record of page level cannot be read: {error}"),
        })
    }

    /// News that are there already.
    pub(in crate::runtime::agent) fn try_next(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Takes news over; the unit whose tags have changed, if they have.
    pub(in crate::runtime::agent) fn take(&mut self, news: News) -> Option<Arc<str>> {
        match news {
            News::Attached(ring) => {
                match Ring::new(ring) {
                    Ok(ring) => self.ring = Some(ring),
                    Err(error) => tracing::error!("pages of tagged regions are not seen: {error}"),
                }
                None
            }
            News::Detached => {
                self.ring = None;
                None
            }
            // For the loop itself.
            News::BroughtBack { .. } => None,
            News::Labels { pid, labels, .. } if labels.is_empty() => {
                self.processes.remove(&pid).map(|process| process.unit)
            }
            News::Labels { pid, unit, labels } => {
                let unit: Arc<str> = Arc::from(unit);
                let labels = labels.into_iter().map(|label| (label.number, label.name));
                let process = Process {
                    unit: Arc::clone(&unit),
                    labels: labels.collect(),
                };
                self.processes.insert(pid, process);
                Some(unit)
            }
        }
    }

    /// Asks for pages to be brought back; `false` if the owner is too busy to hear it.
    pub(in crate::runtime::agent) fn ask_back(&self, wanted: Wanted) -> bool {
        self.to_owner.try_send(ForOwner::BringBack(wanted)).is_ok()
    }

    /// Whether the process has tags.
    pub(in crate::runtime::agent) fn knows(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// The name of a label; `None` if the process has none of that number any more: the record is stale.
    pub(in crate::runtime::agent) fn label(&self, pid: u32, number: u32) -> Option<&Arc<str>> {
        self.processes.get(&pid)?.labels.get(&number)
    }

    /// Whether a process of the unit has tags.
    pub(in crate::runtime::agent) fn has_tags(&self, unit: &str) -> bool {
        self.processes.values().any(|process| *process.unit == *unit)
    }
}

/// Waits for the ring, for ever where there is none.
async fn readable(ring: &mut Option<Ring>) -> io::Result<()> {
    match ring {
        Some(ring) => ring.readable().await,
        None => std::future::pending().await,
    }
}
