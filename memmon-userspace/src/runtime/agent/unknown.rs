//! Pages whose owner nobody knows yet: a scan of the tree tells, or that there is nobody to tell of.

use std::{collections::HashSet, time::Duration};

use crate::{decode::SwapOut, policy::MonoTime};

/// Records whose owner nobody knows, kept until a scan has told. They are of critical cgroups, at most one every
/// 10 ms of each.
const MOST: usize = 1024;
/// Pauses between scans that fail or see only part of the tree: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Records that wait for a name, and cgroups that have none.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    waiting: Vec<SwapOut>,
    /// Cgroups that a scan of the whole tree did not find: they were gone before anybody could see them.
    nameless: HashSet<u64>,
    /// The last scan did not tell; not to be repeated before.
    not_before: Option<MonoTime>,
    pause: Duration,
}

impl Unknown {
    /// Keeps a record; `true` if a scan may tell now whose it is.
    pub(super) fn wait(&mut self, event: SwapOut) -> bool {
        if self.nameless.contains(&event.owner) {
            return false;
        }
        if self.waiting.len() < MOST {
            self.waiting.push(event);
        }
        self.not_before.is_none()
    }

    /// A scan is done: the records, to be looked at again.
    pub(super) fn take(&mut self) -> Vec<SwapOut> {
        std::mem::take(&mut self.waiting)
    }

    /// These are still without an owner, and another scan is on its way.
    pub(super) fn keep(&mut self, left: Vec<SwapOut>) {
        self.waiting = left;
    }

    /// These are still without an owner. If the scan saw the whole tree, nobody will ever know it; else another one
    /// has to tell, after a pause.
    pub(super) fn settle(&mut self, left: Vec<SwapOut>, saw_all: bool, now: MonoTime) {
        if saw_all {
            if self.nameless.len() >= MOST {
                self.nameless.clear();
            }
            self.nameless.extend(left.iter().map(|event| event.owner));
            self.not_before = None;
            self.pause = Duration::ZERO;
        } else if left.is_empty() {
            self.not_before = None;
        } else {
            self.waiting = left;
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
            self.not_before = Some(now.after(self.pause));
        }
    }

    /// When the scan is to be repeated; `None` if nobody waits for that.
    pub(super) fn next_try(&self) -> Option<MonoTime> {
        self.not_before
    }

    /// The pause is over.
    pub(super) fn try_again(&mut self) {
        self.not_before = None;
    }
}

/// Of the cgroups `marked` as critical in the kernel when a scan of the whole tree began, those that are gone: neither
/// was one found by it, nor is it known to be there since. Their records may have been dropped, and nothing else would
/// ever take them out of the map.
pub(super) fn gone(marked: Vec<u64>, found: &HashSet<u64>, is_there: impl Fn(u64) -> bool) -> Vec<u64> {
    let gone = |id: &u64| !found.contains(id) && !is_there(*id);
    marked.into_iter().filter(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{ReclaimKind, Reclaimer};

    const NOW: MonoTime = MonoTime(1_000_000_000_000);

    fn page(owner: u64) -> SwapOut {
        SwapOut {
            ts_ns: 0,
            owner,
            reclaimer: Reclaimer {
                kind: ReclaimKind::Kswapd,
                cgroup_id: None,
                pid: 45,
                comm: "kswapd0".to_owned(),
            },
            pages: 1,
            suppressed_pages: 0,
            folio: 0,
        }
    }

    fn owners(events: &[SwapOut]) -> Vec<u64> {
        events.iter().map(|event| event.owner).collect()
    }

    #[test]
    fn whom_a_scan_of_the_whole_tree_does_not_find_has_no_name() {
        let mut unknown = Unknown::default();
        assert!(unknown.wait(page(7)));
        let left = unknown.take();
        unknown.settle(left, true, NOW);
        assert!(!unknown.wait(page(7)), "no further scan");
        assert_eq!(owners(&unknown.take()), [0; 0]);
        assert!(unknown.wait(page(8)));
    }

    #[test]
    fn a_scan_that_fails_is_repeated_and_brands_nobody() {
        let mut unknown = Unknown::default();
        assert!(unknown.wait(page(7)));
        let mut now = NOW;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let left = unknown.take();
            unknown.settle(left, false, now);
            assert_eq!(unknown.next_try(), Some(now.after(Duration::from_secs(pause))));
            // Further pages wait as well and do not hurry it.
            assert!(!unknown.wait(page(9)));
            now = now.after(Duration::from_secs(pause));
            unknown.try_again();
        }
        let left = unknown.take();
        assert_eq!((left[0].owner, left[1].owner, left.len()), (7, 9, 9));
        // The next one tells of one of them.
        let left = left.into_iter().filter(|event| event.owner == 9).collect();
        unknown.settle(left, true, now);
        assert_eq!(unknown.next_try(), None);
        assert!(unknown.wait(page(7)) && !unknown.wait(page(9)));
        let left = unknown.take();
        unknown.settle(left, false, now);
        assert_eq!(unknown.next_try(), Some(now.after(FIRST_PAUSE)));
    }

    #[test]
    fn only_marks_of_cgroups_that_are_gone_are_taken_back() {
        let found = HashSet::from([1, 2]);
        // 3 was made while the scan was under way, 4 is known to have been removed, of 5 nobody ever heard.
        assert_eq!(gone(vec![1, 3, 4, 5], &found, |id| id == 3), [4, 5]);
    }
}
