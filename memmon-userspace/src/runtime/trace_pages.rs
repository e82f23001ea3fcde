//! The half of `memmon trace` that knows processes and addresses: of every page with `--pages`, else of tagged regions.

use std::{io, ops::Range, sync::Arc};

use aya::maps::MapError;
use memmon_common::page::TagRange;

use super::{
    mapping_names::MappingNames,
    tagged_ranges::{Ranges, TaggedRanges, covered},
    trace::Sink,
};
use crate::{
    action::systemd::Bus,
    attribute::{PageJoin, Piece},
    decode::{PageEvent, PageOut, SwapOut, decode_page},
    export::json::trace::PageField,
    kernel::{load::MapSizes, plan::pages::PageLevel},
    source::{
        pages::{PageOptions, PageProbes},
        proc::{Proc, monotonic_ns},
        ring::Ring,
    },
};

/// As many records as the ring of swap-outs holds, which are shorter, and as many again for shared pages.
const RING_BYTES: u32 = 32 << 20;

/// What of the tagged regions the programs know.
#[derive(Debug, Default)]
struct Followed {
    /// What the agent had told when they were last set.
    told: Arc<Ranges>,
    /// What they have taken.
    set: Ranges,
}

/// Page-level programs of the trace's own, and the pages they have told.
pub(super) struct PageTrace {
    probes: PageProbes,
    ring: Ring,
    join: PageJoin,
    names: MappingNames,
    tagged: TaggedRanges,
    /// What the programs report, where that is not everything.
    only: Option<Followed>,
    /// How often the kernel had skipped one of the programs when records were last taken over.
    missed: u64,
}

impl PageTrace {
    /// For every page.
    pub(super) async fn of_all(sink: &mut impl Sink) -> Option<Self> {
        let tagged = TaggedRanges::ask(Bus::System);
        let mut pages = Self::open(sink, "--pages", tagged, None)?;
        pages.tagged.wait().await;
        Some(pages)
    }

    /// For the pages of regions that are tagged with the running agent, and of those that are tagged later; `None` if
    /// nothing is tagged now, so that nobody else pays for it.
    pub(super) async fn of_tagged(sink: &mut impl Sink) -> Option<Self> {
        let mut tagged = TaggedRanges::ask(Bus::System);
        tagged.wait().await;
        if !tagged.any() {
            return None;
        }
        let mut pages = Self::open(sink, "tagged regions", tagged, Some(Followed::default()))?;
        pages.follow_tags();
        Some(pages)
    }

    /// Attaches the programs; `None` where this kernel allows none, which the user is told.
    fn open(sink: &mut impl Sink, what: &str, tagged: TaggedRanges, only: Option<Followed>) -> Option<Self> {
        let options = PageOptions {
            all: only.is_none(),
            every_hit: true,
            sizes: MapSizes {
                pages: Some(RING_BYTES),
                ..MapSizes::default()
            },
            ..PageOptions::default()
        };
        let opened = PageProbes::open(options)
            .map_err(|error| error.to_string())
            .and_then(|(probes, ring)| Ok((probes, Ring::new(ring).map_err(|error| error.to_string())?)));
        let (probes, ring) = opened
            .inspect_err(|error| {
                sink.note(&format!(
                    "{what}: process and address of a page are not known (null): {error}"
                ));
            })
            .ok()?;
        if probes.level() == PageLevel::Approximate {
            let why = probes
                .hooks()
                .iter()
                .find_map(|hook| hook.attached.as_ref().err());
            sink.note(&format!(
                "{what}: process and address are derived after the fact (exact: false): {}",
                why.map_or("", String::as_str)
            ));
        }
        Some(Self {
            probes,
            ring,
            join: PageJoin::default(),
            names: MappingNames::new(Proc::default()),
            tagged,
            only,
            missed: 0,
        })
    }

    /// Only pages of tagged regions are told.
    pub(super) const fn only_tagged(&self) -> bool {
        self.only.is_some()
    }

    /// Has the programs report what is tagged now.
    pub(super) fn follow_tags(&mut self) {
        let Some(followed) = &self.only else { return };
        let (now, before) = (self.tagged.all(), &followed.set);
        if Arc::ptr_eq(&now, &followed.told) {
            return;
        }
        let gone = before.keys().filter(|pid| !now.contains_key(pid));
        let none: Vec<(u32, Vec<TagRange>)> = gone.map(|pid| (*pid, Vec::new())).collect();
        let changed = now.iter().filter(|(pid, ranges)| before.get(pid) != Some(ranges));
        let changed = changed.map(|(pid, ranges)| (*pid, covered(ranges)));
        let mut set = Ranges::clone(&now);
        for (pid, ranges) in none.into_iter().chain(changed) {
            if let Err(error) = self.probes.set_process_tags(pid, &ranges, monotonic_ns()) {
                tracing::warn!("pages of its regions are shown without an address: {error}");
                // Tried again with the next news.
                set.remove(&pid);
            }
        }
        self.only = Some(Followed { told: now, set });
    }

    /// How process and address are found, as in JSON.
    pub(super) fn level(&self) -> &'static str {
        self.probes.level().as_str()
    }

    /// Waits until there may be records; for ever if nobody asked for pages. Cancel-safe.
    ///
    /// # Errors
    /// If the wait itself fails.
    pub(super) async fn ready(pages: &mut Option<Self>) -> io::Result<()> {
        match pages {
            Some(pages) => pages.ring.readable().await,
            None => std::future::pending().await,
        }
    }

    /// Takes over the waiting records of pages that left their process within `times`.
    pub(super) fn take(&mut self, times: &Range<u64>) {
        // A program that was skipped may have left the one after it with an earlier process's address.
        let missed = self.probes.recursion_misses();
        let certain = missed == std::mem::replace(&mut self.missed, missed);
        let (join, probes) = (&mut self.join, &mut self.probes);
        self.ring.drain(usize::MAX, |record| match decode_page(record) {
            Ok(PageEvent::Page(page)) if times.contains(&page.ts_ns) => {
                let exact = page.exact && certain;
                join.left(PageOut { exact, ..page });
            }
            Ok(PageEvent::TagsGone { tgid, generation }) => {
                probes.tags_gone(tgid, generation, monotonic_ns());
            }
            Ok(PageEvent::Page(_)) | Err(_) => {}
        });
    }

    /// As [`PageJoin::written`].
    pub(super) fn written(&mut self, event: SwapOut) -> Vec<Piece> {
        self.join.written(event)
    }

    /// As [`PageJoin::unwritten`].
    pub(super) fn unwritten(&mut self, before_ns: u64) -> Vec<Piece> {
        self.join.unwritten(before_ns)
    }

    /// A page as it is shown.
    pub(super) fn field(&mut self, page: &PageOut) -> PageField {
        let mapping = self.names.at(page.process, page.address, monotonic_ns());
        PageField {
            pid: page.process.tgid,
            comm: page.comm.clone(),
            address: format!("{:#x}", page.address),
            mapping: mapping.as_deref().map(str::to_owned),
            region: self.tagged.at(page.process, page.address),
            exact: page.exact,
        }
    }

    /// Pages of which not all that could have been told was: their records were lost, the kernel skipped a
    /// program, or they have more mappings than were looked at. Pages whose process cannot be told have a line.
    ///
    /// # Errors
    /// If the totals cannot be read.
    pub(super) fn lost(&self) -> Result<u64, MapError> {
        let totals = self.probes.totals()?;
        Ok(totals.ring_drops + totals.recursion_misses + totals.cut_pages)
    }
}
