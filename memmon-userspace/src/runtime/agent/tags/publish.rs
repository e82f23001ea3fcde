//! Bringing tags into the kernel's tables.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use memmon_common::page::{PROCESS_RANGES, SLICE_REST_NS, TagRange};

use crate::{
    attribute::tags::{Region, Tagged},
    source::{
        pages::{PageOptions, PageProbes, TagError},
        proc,
    },
};

/// Ranges that the processes of one user may have replaced per [`SLICE_REST_NS`]. What is replaced keeps its place
/// in the table for that long, so whoever replaces without end would fill it.
const BUDGET: f64 = 8192.0;
/// After a failure to attach, how long nobody tries again: it takes tens of milliseconds and of megabytes.
const RETRY: Duration = Duration::from_secs(60);

/// The kernel's side.
pub(super) struct Kernel {
    hierarchy: u32,
    pub(super) probes: Option<PageProbes>,
    failed: Option<(Instant, String)>,
    budgets: HashMap<u32, Budget>,
}

/// What a user may still replace.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: f64,
    at: Instant,
}

impl Budget {
    fn full(now: Instant) -> Self {
        Self {
            left: BUDGET,
            at: now,
        }
    }

    /// Takes `ranges` if they are there; else how long it takes until they are.
    fn take(&mut self, ranges: usize, now: Instant) -> Result<(), Duration> {
        let rest = Duration::from_nanos(SLICE_REST_NS);
        let passed = now.duration_since(self.at).as_secs_f64() / rest.as_secs_f64();
        (self.left, self.at) = ((self.left + passed * BUDGET).min(BUDGET), now);
        let wanted = f64::from(u32::try_from(ranges).unwrap_or(PROCESS_RANGES));
        if self.left < wanted {
            return Err(rest.mul_f64((wanted - self.left) / BUDGET));
        }
        self.left -= wanted;
        Ok(())
    }
}

/// The tags of a process were not brought into force.
pub(super) enum NotPublished {
    /// Not yet: try again after this time.
    Later(Duration),
    /// Not at all.
    Failed(String),
}

impl Kernel {
    pub(super) fn new(hierarchy: u32) -> Self {
        Self {
            hierarchy,
            probes: None,
            failed: None,
            budgets: HashMap::new(),
        }
    }

    /// Attaches page level if it is not; the ring of its records if it was done now.
    ///
    /// # Errors
    /// If this host cannot, in words.
    pub(super) async fn attach(&mut self) -> Result<Option<RingBuf<MapData>>, String> {
        if self.probes.is_some() {
            return Ok(None);
        }
        if let Some((at, why)) = &self.failed
            && at.elapsed() < RETRY
        {
            return Err(why.clone());
        }
        let options = PageOptions {
            memory_hierarchy: self.hierarchy,
            ..PageOptions::default()
        };
        // Reading the kernel's types takes long: not on the thread that answers D-Bus.
        let opened = tokio::task::spawn_blocking(move || {
            let opened = PageProbes::open(options);
            // It took tens of megabytes, which malloc would keep.
            // SAFETY: no argument but how much to leave at the top of the heap.
            unsafe { libc::malloc_trim(0) };
            opened
        });
        let opened = opened.await.map_err(|error| error.to_string());
        match opened.and_then(|opened| opened.map_err(|error| error.to_string())) {
            Ok((probes, ring)) => {
                tracing::info!(
                    "page level is attached ({:?}), for tagged regions",
                    probes.level()
                );
                self.probes = Some(probes);
                self.failed = None;
                Ok(Some(ring))
            }
            Err(why) => {
                tracing::warn!("page level cannot be attached: {why}");
                self.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Detaches page level and forgets what it counted.
    pub(super) fn detach(&mut self) {
        self.probes = None;
    }

    /// Has the kernel know the tags of a process as they are now.
    pub(super) fn publish(&mut self, process: &Tagged) -> Result<(), NotPublished> {
        let Some(probes) = &mut self.probes else {
            return Err(NotPublished::Failed("page level is not attached".to_owned()));
        };
        if process.uid != 0 {
            let now = Instant::now();
            let budget = self
                .budgets
                .entry(process.uid)
                .or_insert_with(|| Budget::full(now));
            budget
                .take(process.regions.len(), now)
                .map_err(NotPublished::Later)?;
        }
        let ranges: Vec<TagRange> = process.regions.iter().flat_map(tag_ranges).collect();
        match probes.set_process_tags(process.key.pid, &ranges, proc::monotonic_ns()) {
            Ok(()) => Ok(()),
            Err(TagError::TableFull { .. }) => Err(NotPublished::Later(Duration::from_nanos(SLICE_REST_NS))),
            Err(error) => Err(NotPublished::Failed(error.to_string())),
        }
    }

    /// Has the kernel know that a process has no tags.
    pub(super) fn clear(&mut self, pid: u32) {
        if let Some(probes) = &mut self.probes
            && let Err(error) = probes.clear_process_tags(pid, proc::monotonic_ns())
        {
            tracing::error!("{error}");
        }
    }

    /// Pages of each label that went to swap so far; empty if nobody counts. Counters of labels that are not known any
    /// more are told for the last time.
    pub(super) fn hits(&mut self, is_known: impl Fn(u32) -> bool) -> HashMap<u32, u64> {
        let mut pages: HashMap<u32, u64> = HashMap::new();
        let Some(probes) = &mut self.probes else {
            return pages;
        };
        let hits = probes.region_hits().unwrap_or_else(|error| {
            tracing::error!("reading the counters of tagged regions: {error}");
            Vec::new()
        });
        for (key, count) in hits {
            *pages.entry(key.label).or_default() += count;
            if is_known(key.label) {
                continue;
            }
            if let Err(error) = probes.forget_region(&key) {
                tracing::warn!("a counter of a label that is gone stays: {error}");
            }
        }
        pages
    }

    /// Forgets what is known of users that have replaced nothing lately.
    pub(super) fn forget_budgets(&mut self, now: Instant) {
        let rest = Duration::from_nanos(SLICE_REST_NS);
        self.budgets
            .retain(|_, budget| now.duration_since(budget.at) < rest);
    }
}

/// One range may hold 2^32 - 1 pages; what is larger takes several.
fn tag_ranges(region: &Region) -> impl Iterator<Item = TagRange> {
    const LARGEST: u64 = u32::MAX as u64;
    let (start, pages, label) = (region.start, region.pages(), region.label.number);
    (0..pages.div_ceil(LARGEST)).map(move |part| {
        let before = part * LARGEST;
        TagRange {
            start: start + before * 4096,
            pages: u32::try_from((pages - before).min(LARGEST)).unwrap_or(u32::MAX),
            label,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::tags::Label;

    #[test]
    fn a_budget_refills_and_never_holds_more_than_one() {
        let start = Instant::now();
        let rest = Duration::from_nanos(SLICE_REST_NS);
        let mut budget = Budget::full(start);
        assert_eq!(budget.take(8000, start), Ok(()));
        let wait = budget.take(1000, start).expect_err("used up");
        assert!(wait > Duration::ZERO && wait < rest, "{wait:?}");
        assert_eq!(budget.take(1000, start + wait + Duration::from_micros(1)), Ok(()));
        let later = start + rest * 100;
        assert_eq!(budget.take(8192, later), Ok(()));
        assert!(budget.take(1, later).is_err(), "idle time is not saved up");
    }

    #[test]
    fn a_region_of_more_than_16_tib_is_several_ranges() {
        let region = Region {
            start: 0x1000,
            end: 0x1000 + ((1 << 32) + 5) * 4096,
            label: Label {
                number: 7,
                name: "all".into(),
            },
        };
        let ranges: Vec<TagRange> = tag_ranges(&region).collect();
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[1].start, 0x1000 + u64::from(u32::MAX) * 4096);
        assert_eq!(
            ranges.iter().map(|range| u64::from(range.pages)).sum::<u64>(),
            region.pages()
        );
    }
}
