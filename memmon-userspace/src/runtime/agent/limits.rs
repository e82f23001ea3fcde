//! Limits that a unit hits while its swap is stopped: looked at when it happens, not at the next review.

use std::{path::Path, sync::Arc};

use super::Agent;
use crate::source::limit_events::LimitEvents;

/// The watch on limits, and what it is on.
pub(super) struct Limits {
    events: Option<LimitEvents>,
    /// Path and inode: a restarted unit has another file at the same path.
    watched: Vec<(String, u64)>,
}

impl Limits {
    /// Watches nothing yet; without inotify the periodic review is all there is, which is told.
    pub(super) fn new(mount: &Path) -> Self {
        let events = LimitEvents::new(mount)
            .map_err(|error| tracing::warn!("limits are looked at periodically only, no inotify: {error}"))
            .ok();
        Self {
            events,
            watched: Vec::new(),
        }
    }

    /// Waits until a limit of a watched cgroup is hit.
    pub(super) async fn hit(&mut self) -> Vec<String> {
        if let Some(events) = &mut self.events {
            match events.hit().await {
                Ok(cgroups) => return cgroups,
                Err(error) => tracing::error!("limits are looked at periodically only: {error}"),
            }
            self.events = None;
        }
        std::future::pending().await
    }

    fn watch(&mut self, cgroups: Vec<(String, u64)>) {
        if cgroups == self.watched {
            return;
        }
        if let Some(events) = &mut self.events
            && let Err(error) = events.watch(cgroups.iter().map(|(path, _)| path.as_str()))
        {
            tracing::warn!("some limits are looked at periodically only: {error}");
        }
        self.watched = cgroups;
    }
}

impl Agent {
    /// Has the watch follow the leases.
    pub(super) fn watch_limits(&mut self) {
        let guarded = self.hands.iter().flat_map(|hands| hands.executor.guarded());
        let cgroups = guarded.map(|lease| (lease.cgroup.clone(), lease.inode)).collect();
        self.limits.watch(cgroups);
    }

    /// A limit was hit: whether the unit needs its swap back is decided now.
    pub(super) fn limits_hit(&mut self, cgroups: &[String]) {
        if let Some(hands) = &mut self.hands {
            let outcomes = hands.executor.give_back_again(cgroups);
            self.tell(&outcomes);
        }
        let guarded = self.hands.iter().flat_map(|hands| hands.executor.guarded());
        let units: Vec<Arc<str>> = guarded
            .filter(|lease| cgroups.contains(&lease.cgroup))
            .map(|lease| Arc::from(lease.unit.as_str()))
            .collect();
        for unit in &units {
            self.review(unit);
        }
        self.judge.look_soon();
    }
}
