//! Whether the numbers can be relied on: the self-test beside the running agent, and what was lost.

use std::sync::Arc;

use aya::maps::MapError;
use tokio::sync::mpsc;

use super::Agent;
use crate::{
    export::{journal::Message, json::report::LostField},
    kernel::programs::Programs,
    runtime::self_test::{self, SelfTest},
    source::{cgroup_tree::CgroupTree, probes::Counters},
};

/// Runs the test once, tells the loop its result, and ends.
pub(super) async fn self_test(tree: CgroupTree, counters: Arc<Counters>, result: mpsc::Sender<SelfTest>) {
    let counts = async || {
        let read = tokio::task::spawn_blocking(move || counters.swap_out());
        Ok(read.await??)
    };
    let test = self_test::run(&tree, counts).await;
    // Nobody to tell: the agent is ending.
    let _ = result.send(test).await;
}

impl Agent {
    pub(super) fn self_tested(&mut self, test: SelfTest) {
        if test.ok {
            self.verified = "exact";
            tracing::info!(
                "attribution is exact: {0} of {0} pages in the self-test",
                test.expected_pages
            );
        } else {
            let why = format!("attribution is unverified: {}", test.detail.unwrap_or_default());
            self.tell_plain(Message::Degraded, &why);
            self.degraded.push(why);
        }
    }
}

/// What the programs could not report or count, as totals since they were attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    ring_drops: u64,
    overflow_pages: u64,
    unattributed_pages: u64,
    critical_overflow: u64,
    recursion_misses: u64,
}

impl From<Losses> for LostField {
    fn from(losses: Losses) -> Self {
        Self {
            records: losses.ring_drops,
            overflow_pages: losses.overflow_pages,
            unattributed_pages: losses.unattributed_pages,
            missed_events: losses.recursion_misses,
        }
    }
}

impl Losses {
    /// Whether counts or owners are not exact.
    pub(super) const fn any(&self) -> bool {
        self.overflow_pages + self.unattributed_pages + self.recursion_misses > 0
    }

    /// In words, what was lost since `before`; `None` if nothing was.
    fn since(&self, before: &Self) -> Option<String> {
        let lost: Vec<String> = [
            (
                self.ring_drops.saturating_sub(before.ring_drops),
                "records of swap-outs found no room (their pages are counted)",
            ),
            (
                self.overflow_pages.saturating_sub(before.overflow_pages),
                "pages found no room in the counters and have no owner",
            ),
            (
                self.unattributed_pages.saturating_sub(before.unattributed_pages),
                "pages had no readable owner",
            ),
            (
                self.critical_overflow.saturating_sub(before.critical_overflow),
                "new cgroups of critical units are not reported at once",
            ),
            (
                self.recursion_misses.saturating_sub(before.recursion_misses),
                "events were missed by the kernel: counts are too low",
            ),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        (!lost.is_empty()).then(|| lost.join("; "))
    }
}

impl Losses {
    /// Reads them.
    ///
    /// # Errors
    /// If the totals cannot be read: nothing is known then, least of all that nothing was lost.
    pub(super) fn read(counters: &Counters, programs: &Programs) -> Result<Self, MapError> {
        const TRIES: usize = 8;
        let mut tries = 0;
        loop {
            tries += 1;
            let totals = counters.totals()?;
            let skipped = programs.swap_outs_skipped();
            let missed = totals.missed_events(skipped);
            // An event that a later copy counts just now is one too many: only what holds is told.
            if missed == 0 || tries == TRIES || counters.totals()?.missed_events(skipped) == missed {
                return Ok(Self {
                    ring_drops: totals.ring_drops,
                    overflow_pages: totals.overflow_pages,
                    unattributed_pages: totals.unattributed_pages,
                    critical_overflow: totals.critical_overflow,
                    recursion_misses: missed,
                });
            }
        }
    }
}

impl Agent {
    /// Tells of losses that were not there at the reading before: wrong numbers are worse than none.
    pub(super) fn note_losses(&mut self, now: Losses) {
        if let Some(lost) = now.since(&self.losses) {
            self.tell_plain(Message::Degraded, &format!("attribution is incomplete: {lost}"));
        }
        self.losses = now;
    }
}

#[cfg(test)]
mod tests {
    use super::Losses;

    #[test]
    fn only_what_is_new_is_told() {
        let before = Losses {
            ring_drops: 5,
            ..Losses::default()
        };
        assert_eq!(before.since(&before), None);
        let now = Losses {
            ring_drops: 7,
            recursion_misses: 1,
            ..before
        };
        let text = now.since(&before).expect("two records and one event were lost");
        assert!(
            text.starts_with("2 records") && text.contains("1 events were missed"),
            "{text}"
        );
    }
}
