//! Pages of tagged regions: an alarm and a limit like a critical unit's, where the operator lets tags count.

use std::sync::Arc;

use super::{Agent, BATCH, tags::News};
use crate::{
    attribute::{self, Attributed, Resolved},
    config::Priority,
    decode::{PageOut, SwapOut},
};

/// A page of a tagged region went to swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// What the process calls the region.
    pub(super) label: Arc<str>,
    /// The process.
    pub(super) pid: u32,
    /// Its name.
    pub(super) comm: String,
    /// Address of the page.
    pub(super) address: u64,
}

impl Agent {
    /// Handles waiting records of page level; `true` if there may be more.
    pub(super) fn region_hits(&mut self) -> bool {
        // A label is told before its ranges are in force: what there is to know is here by now.
        while let Some(news) = self.mirror.try_next() {
            self.tags_changed(news);
        }
        let mut pages = Vec::new();
        let more = self.mirror.drain(BATCH, &mut pages);
        for page in pages {
            self.region_hit(page);
        }
        more
    }

    /// Tags came or went: a unit that has none any more gets its limits back by the next review. Not at once: clients
    /// could keep the loop busy with that.
    pub(super) fn tags_changed(&mut self, news: News) {
        if let News::BroughtBack { pid, outcome } = news {
            self.brought_back(pid, outcome);
            return;
        }
        let changed = self.mirror.take(news);
        if changed.iter().any(|unit| !self.mirror.has_tags(unit)) {
            self.review_in(self.options.interval);
        }
        let mirror = &self.mirror;
        self.bringing.keep(|pid| mirror.knows(pid));
    }

    fn region_hit(&mut self, page: PageOut) {
        let Some(label) = page.label else { return };
        let pid = page.process.tgid;
        // A label that this process does not have: the record is of tags that are gone.
        let Some(label) = self.mirror.label(pid, label).cloned() else {
            return;
        };
        let hit = Hit {
            label,
            pid,
            comm: page.comm,
            address: page.address,
        };
        let event = SwapOut {
            ts_ns: page.ts_ns,
            owner: page.owner,
            reclaimer: page.reclaimer,
            pages: page.pages,
            suppressed_pages: page.suppressed_pages,
            folio: page.folio,
        };
        let event: Attributed =
            attribute::attribute(&self.observer.index, event, |owner| self.priority_of(&owner.unit));
        let Some(owner) = event.owner.clone() else { return };
        self.mirror.charged(pid, &owner.unit);
        if event.priority >= Priority::Medium {
            self.critical_page(&owner, &event, Some(&hit));
            self.want_back(&owner, &hit);
        }
    }

    /// Has the pages of the region brought back as soon as there is room.
    fn want_back(&mut self, owner: &Resolved, hit: &Hit) {
        self.bringing.want(&owner.unit, hit);
        self.bring_back();
    }
}
