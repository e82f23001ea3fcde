//! What systemd says: of its units, and in answer to what was asked of it.

use std::sync::Arc;

use super::Agent;
use crate::{action::systemd::Report, attribute::UnitFacts, source::systemd::SystemdEvent};

impl Agent {
    /// The task that talks to systemd has something to report.
    pub(super) fn reported(&mut self, report: Report) {
        let Some(hands) = &mut self.hands else { return };
        let inspected = match &report {
            Report::Inspected { lease, .. } => hands.executor.unit_of(*lease),
            Report::Set { .. } | Report::Restored { .. } => None,
        };
        let outcomes = hands.executor.report(report);
        self.tell(&outcomes);
        // systemd answers when it has written the limits of a unit that it has started.
        if let Some(unit) = inspected.filter(|unit| self.started_again.remove(&**unit)) {
            self.states.entry(Arc::clone(&unit)).or_default().started_again = true;
            self.review(&unit);
            if let Some(state) = self.states.get_mut(&unit) {
                state.started_again = false;
            }
        }
    }

    /// systemd tells of its units.
    pub(super) fn systemd_said(&mut self, event: SystemdEvent) {
        match event {
            SystemdEvent::Snapshot { version, units } => {
                tracing::debug!("systemd {version} knows {} units with cgroups", units.len());
                for problem in units.iter().flat_map(|unit| &unit.problems) {
                    tracing::warn!("{problem}");
                }
                self.observer.index.set_all_facts(&units);
                self.mark_critical();
                // After a lost connection a reload may have passed unseen.
                if let Some(hands) = &mut self.hands {
                    hands.executor.reloaded();
                }
            }
            SystemdEvent::Unit(unit) => {
                for problem in &unit.problems {
                    tracing::warn!("{problem}");
                }
                self.observer.index.set_facts(&unit.name, UnitFacts::from(&unit));
                self.mark_unit(&unit.name);
            }
            SystemdEvent::Removed(name) => self.observer.index.clear_facts(&name),
            // The snapshot that follows a reload has the leases looked at.
            SystemdEvent::Reloading(_) => {}
            SystemdEvent::Lost(why) => {
                tracing::warn!("systemd cannot be reached: {why}; limits change in cgroup files, leases wait")
            }
        }
    }
}
