//! The scripted shortage with an agent that is killed at a boundary between two steps, or with the ground taken away under it.
//!
//! The next start puts everything back: no limit, no drop-in and no lease is left, nobody who was none of memmon's
//! business was touched, and nobody was killed. A sample runs every day, all of it in `cargo xtask vm soak`.

mod ground;

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use memmon::action::fault::{Point, VARIABLE};

use super::scenario::{self, Alive, Company, Traces, wait_all_back};
use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, push_out, wait_on_bus},
    shell,
};

/// The everyday sample.
pub const CASES: &[Case] = &[Case {
    name: "crash.sample",
    run: sample,
    seconds: 900,
}];

/// All of it, one after the other: part of `cargo xtask vm soak`.
pub const SOAK: &[Case] = &[
    Case {
        name: "soak.faults-kills",
        run: kills,
        seconds: 5400,
    },
    Case {
        name: "soak.faults-bus",
        run: ground::bus,
        seconds: 1200,
    },
    Case {
        name: "soak.faults-disk",
        run: ground::disk,
        seconds: 1200,
    },
    Case {
        name: "soak.faults-cgroup",
        run: ground::cgroup,
        seconds: 1200,
    },
    Case {
        name: "soak.faults-clock",
        run: ground::clock,
        seconds: 1200,
    },
];

/// The agent may write there, and a reader of the file has to be root.
const FAULT: &str = "/run/memmon/fault";

/// One of each: a change half made, memory half taken, a limit half put back, pages half read back.
const SAMPLE: [Point; 4] = [
    Point::AfterLimit,
    Point::Reclaim,
    Point::AfterDropIn,
    Point::BringBack,
];

fn sample(ctx: &mut Ctx) -> Result<Outcome> {
    matrix(ctx, &SAMPLE)
}

fn kills(ctx: &mut Ctx) -> Result<Outcome> {
    matrix(ctx, &Point::ALL)
}

/// The scenario, with what it was like before.
pub(super) struct Stage {
    pub(super) company: Company,
    pub(super) agent: Agent,
    pub(super) before: Traces,
    pub(super) alive: Alive,
}

impl Stage {
    /// Everything is up; the agent, once killed, stays down until it is started.
    pub(super) fn set(ctx: &Ctx) -> Result<Self> {
        Self::set_with(ctx, || Ok(()))
    }

    /// The same, with something done just before the agent starts.
    pub(super) fn set_with(ctx: &Ctx, first: impl FnOnce() -> Result<()>) -> Result<Self> {
        ctx.swap_on_disk()?;
        let company = Company::start(ctx)?;
        // An emulated machine that others share takes longer than 30 s to load the programs.
        let service = format!("Restart=no\nTimeoutStartSec=300\nEnvironment={VARIABLE}={FAULT}");
        let agent = scenario::agent(ctx, "", &service)?;
        first()?;
        let (before, alive) = (company.traces()?, Alive::now(&company)?);
        agent.unit.start()?;
        Ok(Self {
            company,
            agent,
            before,
            alive,
        })
    }

    /// Waits until the agent has been killed.
    pub(super) fn wait_killed(&self, ctx: &Ctx, what: &str) -> Result<()> {
        ctx.wait(&format!("the agent is killed: {what}"), || {
            Ok((self.agent.unit.property("ActiveState")? == "failed").then_some(()))
        })?;
        let result = self.agent.unit.property("Result")?;
        ensure!(
            result == "signal",
            "the agent ended with {result}, not by a signal"
        );
        Ok(())
    }

    /// Kills it here and now.
    pub(super) fn kill(&self, ctx: &Ctx) -> Result<()> {
        self.agent.unit.kill("KILL")?;
        self.wait_killed(ctx, "from outside")
    }

    /// The next start, and what has to be true after it.
    pub(super) fn start_again(&self, ctx: &Ctx) -> Result<()> {
        shell::run("systemctl", &["reset-failed", self.agent.unit.name()])?;
        self.agent.unit.start()?;
        self.all_back(ctx)
    }

    /// Everything is as before, and everybody lives.
    pub(super) fn all_back(&self, ctx: &Ctx) -> Result<()> {
        wait_all_back(ctx, &self.company, &self.before)?;
        self.alive.require(&self.company)
    }

    /// Nothing was ever done to who is none of memmon's business, not even for a while.
    pub(super) fn bystanders(&self) -> Result<()> {
        let now = self.company.traces()?;
        let company = &self.company;
        for unit in [&company.observed.unit, &company.medium.unit, &company.high.unit] {
            let (now, before) = (now.about(unit), self.before.about(unit));
            ensure!(now == before, "a wrong target: {:?}", now.unlike(&before));
        }
        let swapped = scenario::swapped(&company.observed.unit)?;
        ensure!(swapped == 0, "{swapped} bytes of the observed unit are in swap");
        Ok(())
    }
}

/// Kills the agent at each of these points, has it started again, and looks.
fn matrix(ctx: &Ctx, points: &[Point]) -> Result<Outcome> {
    let stage = Stage::set(ctx)?;
    for point in points {
        kill_at(ctx, &stage, *point).with_context(|| format!("killed at {}", point.as_str()))?;
        ctx.say(&format!("killed at {}: everything is back", point.as_str()))?;
    }
    stage.agent.stop()?;
    let names: Vec<&str> = points.iter().map(|point| point.as_str()).collect();
    Outcome::passed(format!("killed at {}: everything came back", names.join(", ")))
}

fn kill_at(ctx: &Ctx, stage: &Stage, point: Point) -> Result<()> {
    let arm = || fs::write(FAULT, point.as_str()).context("writing the name of the point");
    // The end of a lease has the same points as a failed change: those are armed once all changes are made.
    let ends = matches!(
        point,
        Point::BeforeRevert
            | Point::AfterRevert
            | Point::BeforeDropIn
            | Point::AfterDropIn
            | Point::AfterReload
            | Point::BeforeLeaseEnd
            | Point::LeaseFile
            | Point::AfterLeaseEnd
    );
    if point == Point::BringBack {
        wait_on_bus(ctx)?;
        // All of it: which pages go first, before the limit, is not known.
        let pages = scenario::CRITICAL_MIB << 8;
        stage.company.critical.tell(&format!("tag 0 {pages} weights"))?;
        arm()?;
        push_out(&stage.company.critical.unit.cgroup()?)?;
        stage.wait_killed(ctx, "while pages are brought back")?;
    } else {
        if !ends {
            arm()?;
        }
        let load = scenario::load(ctx)?;
        if ends {
            ctx.wait_tightened(&stage.company.critical.unit)?;
            arm()?;
            load.unit.stop()?;
        }
        stage.wait_killed(ctx, point.as_str())?;
        load.unit.stop()?;
    }
    ensure!(!Path::new(FAULT).exists(), "it was not killed at its point");
    stage.bystanders()?;
    stage.start_again(ctx)?;
    // What went out comes back, so that the next round is like the first.
    stage.company.critical.tell("touch")?;
    stage.company.low.tell("touch").map(drop)
}
