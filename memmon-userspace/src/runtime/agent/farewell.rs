//! The end: every lease goes back, whatever the situation is, and what that means is said.

use std::time::Duration;

use super::{Agent, now};
use crate::{action::Lease, policy::Property};

/// How long leases are given back at the end before the agent leaves them to its next start.
const LAST_WORDS: Duration = Duration::from_secs(30);

impl Agent {
    /// SIGTERM: every lease ends now, whatever the situation is.
    pub(super) async fn put_everything_back(&mut self) {
        let Some(hands) = &mut self.hands else { return };
        for lease in hands.executor.leases() {
            tracing::warn!(unit = lease.unit, "{}", meaning(lease));
        }
        let outcomes = hands.executor.revert_all("memmon stops");
        self.tell(&outcomes);
        let deadline = tokio::time::Instant::now() + LAST_WORDS;
        while let Some(hands) = &mut self.hands {
            if hands.executor.is_settled() {
                return;
            }
            hands.executor.pump(&hands.jobs);
            let pause = hands
                .executor
                .next_wakeup()
                .map_or(LAST_WORDS, |wake| wake.since(now()));
            tokio::select! {
                report = hands.reports.recv() => match report {
                    Some(report) => self.reported(report),
                    None => return,
                },
                () = tokio::time::sleep(pause) => {}
                () = tokio::time::sleep_until(deadline) => {
                    tracing::error!(
                        "some leases could not be given back within {} s; the next start of memmon does it",
                        LAST_WORDS.as_secs()
                    );
                    return;
                }
            }
        }
    }
}

/// What it means for a unit that memmon no longer holds this limit.
fn meaning(lease: &Lease) -> String {
    let means = match lease.property {
        Property::MemorySwapMax => "its pages may be swapped again",
        Property::MemoryHigh => {
            "if it uses more than that it is throttled and its memory reclaimed until it fits"
        }
        Property::MemoryLow => "its memory is no longer spared while there is other memory to reclaim",
    };
    format!(
        "memmon stops: {} of {} goes back from {} to {}: {means}",
        lease.property, lease.unit, lease.new, lease.old
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        action::LeaseState,
        config::OnCriticalSwap,
        decode::Limit,
        policy::{LeaseId, MonoTime},
    };

    #[test]
    fn what_the_end_of_a_lease_means_is_said_for_each_limit() {
        let lease = |property| Lease {
            id: LeaseId(1),
            unit: "db.service".to_owned(),
            property,
            cgroup: "/system.slice/db.service".to_owned(),
            inode: 7,
            old: Limit::Max,
            new: Limit::Bytes(0),
            mode: OnCriticalSwap::Auto,
            reason: String::new(),
            created: MonoTime(0),
            deadline: MonoTime(0),
            state: LeaseState::Taken,
            systemd: None,
        };
        let swap = meaning(&lease(Property::MemorySwapMax));
        assert!(
            swap.contains("MemorySwapMax of db.service") && swap.ends_with("its pages may be swapped again"),
            "{swap}"
        );
        assert!(meaning(&lease(Property::MemoryHigh)).contains("throttled"));
        assert!(meaning(&lease(Property::MemoryLow)).contains("no longer spared"));
    }
}
