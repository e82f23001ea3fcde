//! The judgement: looks at the host as a whole when something gives reason to, decides, and has it carried out.
//!
//! Reading hundreds of units is left to a thread, as are steps that reclaim: the loop only decides. It is woken by
//! memory pressure (a PSI trigger), by limits that are hit, by pages of critical units, and by a slow tick.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as std_mpsc,
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::{Agent, ahead::Ahead, now};
use crate::{
    policy::{
        HostDecision, HostSnapshot, MonoTime, Outlook, Rules, Situation, StrategyAction, StrategyState,
        strategies,
    },
    runtime::survey::{self, Places, Plan},
    source::psi::PressureTrigger,
};

/// Between two looks when all is well.
const CALM: Duration = Duration::from_secs(10);
/// Between two looks when it is not.
const TENSE: Duration = Duration::from_secs(2);
/// No two looks closer than this, however much happens.
const CLOSEST: Duration = Duration::from_millis(500);
/// Ended steps that may wait for the loop.
const ENDED: usize = 64;

/// A step of a thread has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) unit: String,
    pub(super) action: StrategyAction,
    pub(super) asked: u64,
    pub(super) gained: u64,
    /// Why it ended early.
    pub(super) because: Option<String>,
}

/// What the judgement hears.
pub(super) enum Matter {
    Surveyed(Box<HostSnapshot>),
    Ended(Ended),
    Stalled,
}

/// What the judgement keeps.
pub(super) struct Judge {
    places: Places,
    plans: std_mpsc::SyncSender<Plan>,
    surveys: mpsc::Receiver<HostSnapshot>,
    pub(super) ends: mpsc::Sender<Ended>,
    ended: mpsc::Receiver<Ended>,
    pressure: Option<PressureTrigger>,
    /// A survey is on its way.
    looking: bool,
    last_look: MonoTime,
    next_look: MonoTime,
    pub(super) state: StrategyState,
    /// When RAM will be high, as it was forecast at the last look.
    outlook: Option<Outlook>,
    /// The last decision.
    pub(super) decision: Option<HostDecision>,
    /// Tells threads to end.
    pub(super) stop: Arc<AtomicBool>,
}

impl Judge {
    /// Starts the thread that reads. `cgroups` is where cgroup v2 is mounted, if it is.
    pub(super) fn new(cgroups: Option<&Path>) -> std::io::Result<Self> {
        let places = Places::system(cgroups.map(Path::to_path_buf));
        let (plans, to_do) = std_mpsc::sync_channel::<Plan>(1);
        let (done, surveys) = mpsc::channel(1);
        let (ends, ended) = mpsc::channel(ENDED);
        let there = places.clone();
        std::thread::Builder::new()
            .name("survey".to_owned())
            .spawn(move || {
                let mut ahead = Ahead::default();
                while let Ok(plan) = to_do.recv() {
                    let sent = match survey::survey(&there, &plan) {
                        Ok(mut snapshot) => {
                            snapshot.outlook = ahead.outlook(&snapshot, plan.ahead);
                            done.blocking_send(snapshot)
                        }
                        Err(error) => {
                            tracing::error!("the host cannot be judged: {error}");
                            done.blocking_send(HostSnapshot::default())
                        }
                    };
                    if sent.is_err() {
                        return;
                    }
                }
            })?;
        let pressure = PressureTrigger::new(Path::new("/proc/pressure/memory"))
            .map_err(|error| tracing::info!("no wake-up by memory pressure, a slow tick only: {error}"))
            .ok();
        Ok(Self {
            places,
            plans,
            surveys,
            ends,
            ended,
            pressure,
            looking: false,
            last_look: MonoTime(0),
            next_look: MonoTime(0),
            state: StrategyState::default(),
            outlook: None,
            decision: None,
            stop: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Waits for something to judge by. May be dropped and called again.
    pub(super) async fn hear(&mut self) -> Option<Matter> {
        let stalled = async {
            let result = match &mut self.pressure {
                Some(trigger) => trigger.stalled().await,
                None => std::future::pending().await,
            };
            if let Err(error) = result {
                tracing::warn!("no further wake-up by memory pressure: {error}");
                self.pressure = None;
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            ended = self.ended.recv() => ended.map(Matter::Ended),
            survey = self.surveys.recv() => survey.map(|snapshot| Matter::Surveyed(Box::new(snapshot))),
            () = stalled => Some(Matter::Stalled),
        }
    }

    /// When it looks next by itself; nothing while a look is on its way.
    pub(super) fn next_look(&self) -> Option<MonoTime> {
        (!self.looking).then_some(self.next_look)
    }

    /// Something happened: look as soon as that is not too soon.
    pub(super) fn look_soon(&mut self) {
        self.next_look = self.next_look.min(self.last_look.after(CLOSEST));
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Agent {
    /// Has the host read if it is time to.
    pub(super) fn judge_if_due(&mut self) {
        let now = now();
        if self.judge.next_look().is_none_or(|at| now < at) {
            return;
        }
        self.count_if_older(CALM);
        let plan = self.survey_plan();
        match self.judge.plans.try_send(plan) {
            Ok(()) => self.judge.looking = true,
            // The thread is gone, which it does not before the loop ends.
            Err(_) => self.judge.next_look = now.after(CALM),
        }
        self.judge.last_look = now;
    }

    pub(super) fn matter(&mut self, matter: Matter) {
        match matter {
            Matter::Stalled => self.judge.look_soon(),
            Matter::Ended(ended) => self.step_ended(&ended),
            Matter::Surveyed(snapshot) => {
                self.judge.looking = false;
                self.surveyed(*snapshot);
            }
        }
    }

    /// Which units to read, and what is known of them here.
    fn survey_plan(&self) -> Plan {
        let mut units = survey::units(&self.observer.index, &self.config);
        for unit in &mut units {
            let state = self.states.get(unit.unit.as_str());
            unit.last_critical = state.and_then(|state| state.last_critical);
            unit.tagged = self.mirror.has_tags(&unit.unit);
            unit.theirs = self
                .hands
                .as_ref()
                .and_then(|hands| hands.executor.theirs(&unit.unit));
        }
        Plan {
            units,
            leases: self
                .hands
                .iter()
                .flat_map(|hands| hands.executor.leases().map(survey::host_lease))
                .collect(),
            own_unit: self.own_unit.clone(),
            ahead: self
                .config
                .proactive
                .enabled
                .then_some(self.config.thresholds.ram_high),
        }
    }

    fn surveyed(&mut self, mut snapshot: HostSnapshot) {
        let now = now();
        if snapshot.host.total == 0 {
            // The thread said why it could not read it.
            self.judge.next_look = now.after(CALM);
            return;
        }
        if self.options.dry_run {
            snapshot.imagine_leases();
        }
        self.judge.outlook = snapshot.outlook;
        let config = Arc::clone(&self.config);
        let rules = Rules::from(&*config);
        let before = self.judge.state.situation;
        self.judge.state.observe(&snapshot, &rules, now);
        let decision = strategies(&snapshot, &rules, &self.judge.state, now);
        self.situation = decision.situation.ram;
        if (before.ram, before.swap_high) != (decision.situation.ram, decision.situation.swap_high) {
            self.situation_changed(&snapshot, &decision);
        }
        if config.strategies.act {
            self.carry_out(&snapshot, &decision, now);
        }
        self.look_ahead(&snapshot, now);
        self.chronicle.sample(&snapshot, &self.sums, &config.history, now);
        let calm = decision.situation.ram == Situation::Normal && !decision.situation.swap_high;
        let pause = if calm { CALM } else { TENSE };
        let waiting = self.judge.state.look_again(&rules, now);
        self.judge.next_look = waiting.map_or(now.after(pause), |at| at.min(now.after(pause)));
        self.judge.decision = Some(decision);
    }

    /// Reads the host here and now and decides, for somebody who asks for it by hand.
    pub(super) fn judge_now(&mut self) -> Option<(HostSnapshot, HostDecision)> {
        let plan = self.survey_plan();
        let mut snapshot = survey::survey(&self.judge.places, &plan)
            .map_err(|error| tracing::error!("the host cannot be judged: {error}"))
            .ok()?;
        if self.options.dry_run {
            snapshot.imagine_leases();
        }
        snapshot.outlook = self.judge.outlook;
        let rules = Rules::from(&*self.config);
        let mut state = self.judge.state.clone();
        state.observe(&snapshot, &rules, now());
        let decision = strategies(&snapshot, &rules, &state, now());
        Some((snapshot, decision))
    }

    fn situation_changed(&mut self, snapshot: &HostSnapshot, decision: &HostDecision) {
        let situation = decision.situation;
        let text = format!(
            "memory situation is {}{}: RAM {:.0} % used, swap {}",
            situation.ram.as_str(),
            if situation.swap_high { ", swap high" } else { "" },
            snapshot.host.ram_used() * 100.0,
            snapshot
                .host
                .swap_used()
                .map_or_else(|| "none".to_owned(), |used| format!("{:.0} % used", used * 100.0))
        );
        tracing::info!("{text}");
        self.chronicle.situation(text);
    }
}
