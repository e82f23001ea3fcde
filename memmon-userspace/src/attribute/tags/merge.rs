//! Overlapping tags to disjoint ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Tag;

/// What a process calls some of its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its number, that the eBPF programs report: never 0, and never that of another label or process.
    pub number: u32,
    /// Its name.
    pub name: Arc<str>,
}

/// Whole pages with one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// What the process calls it.
    pub label: Label,
}

impl Region {
    /// Pages in it.
    pub const fn pages(&self) -> u64 {
        (self.end - self.start) / super::PAGE
    }

    /// Entries of the kernel's table that it takes: each holds up to 2^32 - 1 pages.
    pub fn ranges(&self) -> usize {
        usize::try_from(self.pages().div_ceil(u32::MAX.into())).unwrap_or(usize::MAX)
    }
}

/// The disjoint ranges under `tags`, by address; where two tags overlap the older one's label counts, and
/// neighbours with the same label are one range.
pub(super) fn merge(tags: &BTreeMap<u64, Tag>) -> Vec<Region> {
    let mut edges: Vec<(u64, bool, u64)> = tags
        .iter()
        .flat_map(|(&id, tag)| [(tag.start, true, id), (tag.end, false, id)])
        .collect();
    edges.sort_unstable();
    let mut regions: Vec<Region> = Vec::new();
    let mut open: BTreeSet<u64> = BTreeSet::new();
    let mut from = 0;
    for (at, opens, id) in edges {
        if from < at
            && let Some(oldest) = open.first().and_then(|oldest| tags.get(oldest))
        {
            push(&mut regions, from, at, &oldest.label);
        }
        from = at;
        if opens {
            open.insert(id);
        } else {
            open.remove(&id);
        }
    }
    regions
}

fn push(regions: &mut Vec<Region>, start: u64, end: u64, label: &Label) {
    match regions.last_mut() {
        Some(last) if last.end == start && last.label.number == label.number => last.end = end,
        _ => regions.push(Region {
            start,
            end,
            label: label.clone(),
        }),
    }
}
