//! What the loop hands to those who describe the agent: copies, so that describing takes none of its time.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Agent, Sums, scrape::Raw, sums::Counts};
use crate::{
    action::Lease,
    config::{Config, Priority},
    decode::rfc3339,
    export::json::report::{AgentField, AlarmField, BlameField, LostField, StrategyField},
    policy::Situation,
    record::Forecasts,
    runtime::report::{self, is_shown},
    source::proc,
};

/// A fresh reading of the counters for the loop to take over, and what is wanted in return.
pub(super) struct Ask {
    pub(super) counts: Counts,
    pub(super) answer: Answer,
}

/// What is wanted.
pub(super) enum Answer {
    /// Everything that a report says.
    View(oneshot::Sender<View>),
    /// The same without strategies: the policy is not asked.
    Glance(oneshot::Sender<View>),
    /// Everything that the metrics say.
    Facts(oneshot::Sender<Raw>),
    /// Nothing: the loop itself had asked for the reading.
    Nobody,
}

/// The agent at one moment.
pub(super) struct View {
    pub(super) config: Arc<Config>,
    pub(super) situation: Situation,
    pub(super) units: Vec<UnitView>,
    pub(super) blame: Vec<BlameField>,
    pub(super) leases: Vec<Lease>,
    pub(super) alarms: Vec<AlarmField>,
    pub(super) strategies: Vec<StrategyField>,
    /// `None`: nothing is stored to forecast from.
    pub(super) forecasts: Forecasts,
    pub(super) attribution: &'static str,
    /// Without the tags, which somebody else owns.
    pub(super) agent: AgentField,
}

/// One unit, without what its cgroup's files say.
pub(super) struct UnitView {
    pub(super) unit: Arc<str>,
    pub(super) priority: Priority,
    pub(super) cgroup: Option<Arc<str>>,
    pub(super) swapout_pages: Option<u64>,
    pub(super) swapin_pages: Option<u64>,
    pub(super) critical_pages: u64,
    pub(super) stall_ns: Option<u64>,
}

impl Agent {
    /// Answers a request for a view.
    pub(super) fn show(&mut self, ask: Ask) {
        self.count(&ask.counts);
        // Whoever asked may have given up.
        match ask.answer {
            Answer::View(answer) => {
                let mut strategies = self.strategies(true);
                strategies.extend(self.judge.decision.iter().flat_map(Self::host_fields));
                drop(answer.send(self.view(strategies)));
            }
            Answer::Glance(answer) => drop(answer.send(self.view(Vec::new()))),
            Answer::Facts(answer) => drop(answer.send(self.raw())),
            Answer::Nobody => {}
        }
    }

    fn view(&self, strategies: Vec<StrategyField>) -> View {
        let index = &self.observer.index;
        let sums: &Sums = &self.sums;
        let units = index
            .units()
            .filter(is_shown)
            .map(|unit| UnitView {
                unit: Arc::clone(unit.name),
                priority: index.priority(&self.config, unit.name),
                cgroup: index.cgroup_of_unit(unit.name).map(|(_, path)| Arc::clone(path)),
                swapout_pages: sums.out.pages_of(unit.name),
                swapin_pages: sums.back.as_ref().and_then(|back| back.pages_of(unit.name)),
                critical_pages: sums.critical_pages(unit.name),
                stall_ns: sums.stalls.nanos_of(unit.name),
            })
            .collect();
        let offset = proc::wall_clock_offset_ns();
        View {
            config: Arc::clone(&self.config),
            situation: self.situation,
            units,
            blame: report::blame(&sums.out),
            leases: self
                .hands
                .iter()
                .flat_map(|hands| hands.executor.leases().cloned())
                .collect(),
            alarms: self
                .alarms
                .iter()
                .map(|alarm| alarm.field(offset))
                .chain(self.outlooks.alarms().map(|alarm| alarm.field(offset)))
                .collect(),
            forecasts: self.outlooks.latest.clone(),
            strategies,
            attribution: self.attribution(),
            agent: AgentField {
                version: env!("CARGO_PKG_VERSION"),
                since: rfc3339(self.started.0, offset),
                dry_run: self.options.dry_run,
                degraded: self.degraded.clone(),
                events_lost: LostField::from(self.losses),
                tagged_processes: 0,
                tagged_ranges: 0,
            },
        }
    }

    fn attribution(&self) -> &'static str {
        if self.losses.any() {
            "degraded"
        } else {
            self.verified
        }
    }
}
