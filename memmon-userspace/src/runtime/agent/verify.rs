//! The self-test beside the running agent: it asks the loop for the counters and tells it the result.

use tokio::sync::{mpsc, oneshot};

use super::Agent;
use crate::{
    export::{journal::Message, json::report::LostField},
    runtime::self_test::{self, Counts, SelfTest},
    source::cgroup_tree::CgroupTree,
};

/// What the test wants of the loop.
pub(super) enum Request {
    /// The counters as they are now.
    Counts(oneshot::Sender<anyhow::Result<Counts>>),
    /// The result.
    Done(SelfTest),
}

/// Runs the test once and ends.
pub(super) async fn self_test(tree: CgroupTree, requests: mpsc::Sender<Request>) {
    let counts = async || {
        let (answer, counts) = oneshot::channel();
        requests.send(Request::Counts(answer)).await?;
        counts.await?
    };
    let result = self_test::run(&tree, counts).await;
    // Nobody to tell: the agent is ending.
    let _ = requests.send(Request::Done(result)).await;
}

impl Agent {
    pub(super) fn self_test(&mut self, request: Request) {
        match request {
            Request::Counts(answer) => {
                let counts = self.observer.probes.swap_out().map_err(anyhow::Error::from);
                // The test has given up waiting: its result says so.
                let _ = answer.send(counts);
            }
            Request::Done(test) if test.ok => {
                self.verified = "exact";
                tracing::info!(
                    "attribution is exact: {0} of {0} pages in the self-test",
                    test.expected_pages
                );
            }
            Request::Done(test) => {
                let why = format!("attribution is unverified: {}", test.detail.unwrap_or_default());
                self.tell_plain(Message::Degraded, &why);
                self.degraded.push(why);
            }
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

impl Agent {
    /// Tells of losses that were not there when it looked before: wrong numbers are worse than none.
    pub(super) fn look_for_losses(&mut self) {
        let totals = match self.observer.probes.totals() {
            Ok(totals) => totals,
            Err(error) => {
                tracing::error!("reading the totals: {error}");
                return;
            }
        };
        let now = Losses {
            ring_drops: totals.ring_drops,
            overflow_pages: totals.overflow_pages,
            unattributed_pages: totals.unattributed_pages,
            critical_overflow: totals.critical_overflow,
            recursion_misses: self.observer.recursion_misses(),
        };
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
