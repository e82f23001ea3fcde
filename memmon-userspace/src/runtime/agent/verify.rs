//! The self-test beside the running agent: it asks the loop for the counters and tells it the result.

use tokio::sync::{mpsc, oneshot};

use super::Agent;
use crate::{
    export::journal::Message,
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
