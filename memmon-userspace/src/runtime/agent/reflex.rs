//! The reaction path: from the record of a critical page to a limit in force.

use std::sync::Arc;

use super::{Agent, BATCH, alarms::Raising, now, regions::Hit};
use crate::{
    action::{Outcome, measure},
    attribute::{self, Attributed, Resolved},
    config::Priority,
    decode::{self, MemInfo, SwapOut},
    policy::{self, CriticalEvent, Decision, MonoTime, Region, Relation, Snapshot},
    source::{cgroupfs::CgroupReadError, proc::Proc},
};

impl Agent {
    /// Handles waiting swap-out records; `true` if there may be more.
    pub(super) fn swap_outs(&mut self) -> bool {
        let mut events: Vec<SwapOut> = Vec::new();
        let more = self.observer.drain_events(BATCH, |_, event| events.push(event));
        for event in events {
            if let Some(unknown) = self.swap_out(event) {
                self.owner_unknown(unknown);
            }
        }
        more
    }

    /// Handles one record; gives it back if nobody knows its owner.
    pub(super) fn swap_out(&mut self, event: SwapOut) -> Option<SwapOut> {
        if self.observer.index.unit_of(event.owner).is_none() {
            return Some(event);
        }
        let event = attribute::attribute(&self.observer.index, event, |owner| self.priority_of(&owner.unit));
        if event.priority == Priority::Critical
            && let Some(owner) = event.owner.clone()
        {
            self.critical_page(&owner, &event, None);
        }
        None
    }

    /// Answers a page that matters: of a critical unit, or of a tagged region in one that matters somewhat.
    pub(super) fn critical_page(&mut self, owner: &Resolved, event: &Attributed, region: Option<&Hit>) {
        let now = now();
        // Pages of a region in a critical unit come by the unit's own records as well, and count there.
        let counted = region.is_none() || event.priority != Priority::Critical;
        let pages = if counted {
            event.pages + event.suppressed_pages
        } else {
            0
        };
        if let Some(hit) = region {
            self.alarms.name_region(&owner.unit, &hit.label);
        }
        if !self.alarms.count(&owner.unit, pages, now) {
            return;
        }
        let Some(decision) = self.decide_about(owner, event, region, now) else {
            return;
        };
        let outcomes = match &mut self.hands {
            Some(hands) => hands
                .executor
                .execute(&decision, self.config.reaction.on_critical_swap),
            None => Vec::new(),
        };
        let in_force = super::now();
        self.pump();
        // Only now what can wait: telling people.
        if let Some(alarm) = &decision.alarm {
            let raising = Raising {
                severity: alarm.severity,
                reason: &alarm.reason,
                region: region.map(|hit| Arc::clone(&hit.label)),
                pages,
            };
            if let Some(id) = self.alarms.raise(&owner.unit, &raising, now) {
                self.tell_alarm(id, &decision, event, region);
            }
        }
        self.note_reaction(&outcomes, event.ts_ns, in_force);
        self.tell(&outcomes);
        self.review_in(self.options.interval);
        self.judge.look_soon();
    }

    fn note_reaction(&mut self, outcomes: &[Outcome], page_ns: u64, in_force: MonoTime) {
        for outcome in outcomes.iter().filter(|outcome| outcome.changed()) {
            let time = in_force.since(MonoTime(page_ns));
            self.counters.note_reaction(time);
            let micros = time.as_micros();
            tracing::info!(
                unit = outcome.unit,
                reaction_us = u64::try_from(micros).unwrap_or(u64::MAX),
                "limit in force {micros} µs after the page"
            );
        }
    }

    fn decide_about(
        &mut self,
        owner: &Resolved,
        event: &Attributed,
        region: Option<&Hit>,
        now: MonoTime,
    ) -> Option<Decision> {
        let index = &self.observer.index;
        // A cgroup that the kernel has released has no path any more; the unit may have another one by now.
        let cgroup = owner
            .unit_cgroup()
            .or_else(|| Some(&**index.cgroup_of_unit(&owner.unit)?.1))
            .map(str::to_owned);
        let culprit = event
            .reclaimer
            .cgroup_id
            .and_then(|id| self.observer.index.resolve(id));
        let culprit_path = culprit.as_ref().and_then(|culprit| culprit.path.as_deref());
        let critical = CriticalEvent {
            pages: event.pages,
            kind: event.reclaimer.kind,
            relation: cgroup
                .as_deref()
                .map_or(Relation::Unknown, |cgroup| Relation::of(cgroup, culprit_path)),
            reclaimer: event
                .reclaimer
                .unit
                .as_deref()
                .or(culprit_path)
                .map(str::to_owned),
            comm: event.reclaimer.comm.clone(),
            region: region.map(|hit| Region {
                label: hit.label.to_string(),
                comm: hit.comm.clone(),
            }),
        };
        self.ask(&owner.unit, cgroup.as_deref(), Some(critical), now)
    }

    /// Measures a unit in `cgroup`, if it has one, and asks the policy; `None` if the host cannot be measured,
    /// which is told.
    pub(super) fn ask(
        &mut self,
        unit: &Arc<str>,
        cgroup: Option<&str>,
        event: Option<CriticalEvent>,
        now: MonoTime,
    ) -> Option<Decision> {
        let host = host_memory()?;
        // It worsens at once, and eases when the judgement says so.
        let measured = policy::situation(&host, &self.config.thresholds, self.situation);
        self.situation = self.situation.max(measured);
        let mut snapshot = Snapshot {
            unit: unit.to_string(),
            priority: self.priority_of(unit),
            cgroup: cgroup.unwrap_or(unit).to_owned(),
            cgroup_id: cgroup
                .and_then(|cgroup| self.observer.index.id_at(cgroup))
                .unwrap_or(0),
            chain: Vec::new(),
            below: Vec::new(),
            below_complete: false,
            tagged: self.mirror.has_tags(unit) || event.as_ref().is_some_and(|event| event.region.is_some()),
            host,
            // Whether the host has room is the judgement's matter: while somebody takes all memory, what the others
            // could give is not to be measured (decision 32).
            elsewhere: u64::MAX,
            situation: self.situation,
            pressure: None,
            event,
        };
        let state = self.states.entry(Arc::clone(unit)).or_default();
        state.own_unit.clone_from(&self.own_unit);
        if let Some(hands) = &self.hands {
            match cgroup
                .map(|cgroup| measure::measure(&hands.root, cgroup))
                .transpose()
            {
                Ok(None) => {}
                Ok(Some(measured)) => {
                    snapshot.chain = measured.chain;
                    snapshot.below = measured.below;
                    snapshot.below_complete = measured.below_complete;
                }
                Err(measure::MeasureError::Read(gone @ CgroupReadError::Gone { .. })) => {
                    tracing::debug!("{unit} has stopped: {gone}")
                }
                Err(error) => {
                    tracing::warn!("{unit} cannot be measured, its limits stay as they are: {error}")
                }
            }
            if let (Some(cgroup), None) = (cgroup, &snapshot.event) {
                snapshot.pressure = measure::pressure(&hands.root, cgroup).ok().flatten();
            }
            hands.executor.imagine(&mut snapshot);
            state.leases = hands.executor.views(unit);
            state.theirs = hands.executor.theirs(unit);
        }
        let decision = policy::decide(&snapshot, &self.config.reaction, state, now);
        state.remember(&snapshot, now);
        Some(decision)
    }

    /// Walks the reaction path once, so that its code and data are in memory before they are needed. The agent's own
    /// unit is never acted upon, so nothing comes of the decision; what is done about others is done about it apart.
    pub(super) fn rehearse(&mut self) {
        let Some(own) = self.own_unit.clone() else { return };
        let Some((id, cgroup)) = self
            .observer
            .index
            .cgroup_of_unit(&own)
            .map(|(id, path)| (id, path.to_string()))
        else {
            return;
        };
        let event = CriticalEvent {
            pages: 1,
            kind: decode::ReclaimKind::Other,
            relation: Relation::Unknown,
            reclaimer: None,
            comm: "rehearsal".to_owned(),
            region: None,
        };
        let unit: Arc<str> = Arc::from(own.as_str());
        if let Some(decision) = self.ask(&unit, Some(&cgroup), Some(event), now())
            && let Some(hands) = &mut self.hands
        {
            hands
                .executor
                .execute(&decision, self.config.reaction.on_critical_swap);
        }
        if let Some(hands) = &mut self.hands
            && let Err(error) = hands.executor.rehearse(&unit, &cgroup, id)
        {
            tracing::warn!("limits may not be changed in time, or at all: {error}");
        }
        self.states.remove(&unit);
    }
}

/// The host's memory; `None`, told once per call, if `/proc/meminfo` cannot be read or understood.
fn host_memory() -> Option<MemInfo> {
    let text = Proc::default()
        .meminfo()
        .map_err(|error| tracing::error!("{error}"))
        .ok()?;
    MemInfo::parse(&text)
        .map_err(|error| tracing::error!("{error}"))
        .ok()
}
