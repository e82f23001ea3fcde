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

/// Units whose pages a process may be remembered to have tagged, besides its own.
const CHARGED: usize = 16;

struct Process {
    unit: Arc<str>,
    /// Other units that pages of its regions were charged to: those that it was in before it was moved, or that
    /// share memory with it.
    charged: Vec<Arc<str>>,
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

    /// Takes news over; the units whose tags may have changed.
    pub(in crate::runtime::agent) fn take(&mut self, news: News) -> Vec<Arc<str>> {
        match news {
            News::Attached(ring) => {
                match Ring::new(ring) {
                    Ok(ring) => self.ring = Some(ring),
                    Err(error) => tracing::error!("pages of tagged regions are not seen: {error}"),
                }
                Vec::new()
            }
            News::Detached => {
                self.ring = None;
                Vec::new()
            }
            // For the loop itself.
            News::BroughtBack { .. } => Vec::new(),
            News::Labels { pid, labels, .. } if labels.is_empty() => self
                .processes
                .remove(&pid)
                .map(Process::units)
                .unwrap_or_default(),
            News::Labels { pid, unit, labels } => {
                let unit: Arc<str> = Arc::from(unit);
                let labels = labels.into_iter().map(|label| (label.number, label.name));
                let process = Process {
                    unit: Arc::clone(&unit),
                    charged: Vec::new(),
                    labels: labels.collect(),
                };
                let before = self.processes.insert(pid, process);
                // Pages stay charged where they are when their process moves.
                let charged = before.map(Process::units).unwrap_or_default();
                for unit in &charged {
                    self.charged(pid, unit);
                }
                charged
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

    /// A page of a tagged region of the process is charged to this unit.
    pub(in crate::runtime::agent) fn charged(&mut self, pid: u32, unit: &Arc<str>) {
        if let Some(process) = self.processes.get_mut(&pid)
            && !process.has_tags(unit)
            && process.charged.len() < CHARGED
        {
            process.charged.push(Arc::clone(unit));
        }
    }

    /// Whether memory of the unit is tagged, as far as that is known: a process of it has tags, or one of another
    /// unit has tagged pages that are charged to it.
    pub(in crate::runtime::agent) fn has_tags(&self, unit: &str) -> bool {
        self.processes.values().any(|process| process.has_tags(unit))
    }
}

impl Process {
    fn has_tags(&self, unit: &str) -> bool {
        std::iter::once(&self.unit)
            .chain(&self.charged)
            .any(|known| **known == *unit)
    }

    fn units(self) -> Vec<Arc<str>> {
        std::iter::once(self.unit).chain(self.charged).collect()
    }
}

/// Waits for the ring, for ever where there is none.
async fn readable(ring: &mut Option<Ring>) -> io::Result<()> {
    match ring {
        Some(ring) => ring.readable().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::tags::Label;

    fn labels(pid: u32, unit: &str, labels: &[&str]) -> News {
        let label = |(number, name): (u32, &&str)| Label {
            number,
            name: Arc::from(*name),
        };
        News::Labels {
            pid,
            unit: unit.to_owned(),
            labels: (1..).zip(labels).map(label).collect(),
        }
    }

    #[test]
    fn a_unit_has_tags_as_long_as_pages_charged_to_it_may_be_tagged() {
        let mut mirror = Mirror::new(super::super::channels(1).2);
        mirror.take(labels(7, "old.service", &["a"]));
        assert!(mirror.has_tags("old.service") && !mirror.has_tags("new.service"));
        // It is moved, and its pages stay where they are.
        mirror.take(labels(7, "new.service", &["a"]));
        assert!(mirror.has_tags("old.service") && mirror.has_tags("new.service"));
        // Pages that a third one has brought in.
        let third: Arc<str> = Arc::from("third.service");
        mirror.charged(7, &third);
        mirror.charged(7, &third);
        mirror.charged(8, &Arc::from("of.nobody"));
        mirror.take(labels(7, "new.service", &["a", "b"]));
        assert!(mirror.has_tags("third.service") && !mirror.has_tags("of.nobody"));
        let changed = mirror.take(labels(7, "new.service", &[]));
        let names: Vec<&str> = changed.iter().map(|unit| &**unit).collect();
        assert_eq!(names, ["new.service", "old.service", "third.service"]);
        assert!(changed.iter().all(|unit| !mirror.has_tags(unit)));
    }
}
