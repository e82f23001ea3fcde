//! What only time or large numbers bring to light. Not part of `cargo xtask test`.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, Setup, push_out},
    shell,
    units::Unit,
    workload::Hold,
};

/// The long cases.
pub const CASES: &[Case] = &[
    Case {
        name: "soak.storm",
        run: storm,
        seconds: 300,
    },
    Case {
        name: "soak.units",
        run: units,
        seconds: 7200,
    },
];

/// What the agent's own memory may grow by once it is warm: what grows with the number of events does not stop there.
/// Of files that are mapped no more can be resident than there is of them.
const GROWTH_KIB: u64 = 1024;
/// Until then the agent has done everything several times, and malloc has as many arenas as it will have.
const WARM: Duration = Duration::from_secs(120);
/// Units that swap all the time.
const STORMY: u32 = 3;
/// Units that come and go.
const UNITS: u32 = 10_000;
/// How many of them at a time.
const BATCH: u32 = 50;

/// Three units beyond their limits swap as fast as the machine can, while a root shell pushes out a critical
/// one again and again. The agent neither dies nor grows, and the trace misses no page.
fn storm(ctx: &mut Ctx) -> Result<Outcome> {
    let minutes = ctx.run.soak_minutes.unwrap_or(60);
    ensure!(
        Duration::from_secs(60 * minutes) > WARM + Duration::from_secs(60),
        "{minutes} min are over before growth could be seen: give it --minutes {} at least",
        WARM.as_secs() / 60 + 2
    );
    ctx.swap_on_zram(512)?;
    let agent = ctx.agent(&Setup {
        critical: &["soak-critical.service"],
        hold: "5s",
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    })?;
    let watched = Watched::new(&agent)?;
    // Shows nothing and counts everything.
    let trace = ctx.trace_only(&[])?;
    let critical = ctx.workload("soak-critical.service", &Hold::mib(8))?;
    for number in 0..STORMY {
        let name = format!("soak-storm{number}.service");
        let content = "[Service]\nType=notify\nExecStart=/usr/bin/memmon-workload pressure --mib 32\n\
                       TimeoutStartSec=infinity\nMemoryMax=16M\n";
        ctx.unit_file(&name, content)?.start()?;
    }
    let began = Instant::now();
    let end = began + Duration::from_secs(60 * minutes);
    let mut warm = None;
    while Instant::now() < end {
        push_out(&critical.unit.cgroup()?)?;
        // Passing time is what this case is about.
        thread::sleep(Duration::from_secs(10));
        let memory = watched.memory(&agent)?;
        ctx.measure(
            "soak_agent_kib",
            json!({ "rss": memory.rss, "anon": memory.anon, "locked": memory.locked }),
        )?;
        if began.elapsed() < WARM {
            continue;
        }
        let warm = warm.get_or_insert(memory.anon);
        ensure!(
            memory.anon <= *warm + GROWTH_KIB,
            "the agent's own memory grew from {warm} to {} KiB",
            memory.anon
        );
    }
    for number in 0..STORMY {
        Unit::named(format!("soak-storm{number}.service")).stop()?;
    }
    let stream = trace.finish(ctx)?;
    let pages = stream.end()?.pages;
    ensure!(
        critical.tell("verify")? == "2048",
        "the critical unit lost its pages"
    );
    agent.measure_reactions(ctx, "in a storm")?;
    agent.stop()?;
    let limit = critical.unit.cgroup()?.read("memory.swap.max")?;
    ensure!(limit == "max", "memory.swap.max is {limit} after the agent ended");
    Outcome::passed(format!(
        "{pages} pages in {minutes} min, all of them counted; {} KiB of its own when warm",
        warm.unwrap_or_default()
    ))
}

/// Ten thousand units come and go. The agent does not grow with them, and still knows the next one.
fn units(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(64)?;
    let agent = ctx.agent(&Setup {
        critical: &["soak-last.service"],
        ..Setup::default()
    })?;
    let watched = Watched::new(&agent)?;
    let template = "[Service]\nType=oneshot\nExecStart=/bin/true\nRemainAfterExit=yes\n";
    ctx.unit_file("soak@.service", template)?;
    let began = Instant::now();
    let mut warm = None;
    for first in (0..UNITS).step_by(BATCH as usize) {
        let names: Vec<String> = (first..first + BATCH)
            .map(|number| format!("soak@{number}.service"))
            .collect();
        for verb in ["start", "stop"] {
            let mut args = vec![verb];
            args.extend(names.iter().map(String::as_str));
            shell::run("systemctl", &args)?;
        }
        let memory = watched.memory(&agent)?;
        // After the first thousand, what is kept of units that are gone has found its size.
        if first + BATCH == UNITS / 10 {
            warm = Some(memory.anon);
        }
        // So that a run that is cut off has shown how far it came.
        if (first + BATCH).is_multiple_of(10 * BATCH) {
            let seconds = began.elapsed().as_secs_f64();
            let value = json!({ "units": first + BATCH, "seconds": seconds, "rss_kib": memory.rss, "anon_kib": memory.anon });
            ctx.measure("soak_units", value)?;
        }
        ensure!(
            warm.is_none_or(|warm| memory.anon <= warm + GROWTH_KIB),
            "the agent's own memory grew from {warm:?} to {} KiB by unit {first}",
            memory.anon
        );
    }
    ctx.measure("soak_units_seconds", began.elapsed().as_secs_f64())?;
    let last = ctx.workload("soak-last.service", &Hold::mib(8))?;
    push_out(&last.unit.cgroup()?)?;
    ctx.wait("the last unit is protected", || {
        Ok((last.unit.cgroup()?.read("memory.swap.max")? == "0").then_some(()))
    })?;
    Outcome::passed(format!(
        "{UNITS} units; {} KiB of its own after a tenth of them",
        warm.unwrap_or_default()
    ))
}

/// The process that must stay the same all the time.
struct Watched {
    pid: u32,
}

/// Sizes in KiB.
struct Memory {
    rss: u64,
    anon: u64,
    locked: u64,
}

impl Watched {
    fn new(agent: &Agent) -> Result<Self> {
        Ok(Self {
            pid: agent.unit.main_pid()?,
        })
    }

    /// The agent's memory; an error if it has been started anew.
    fn memory(&self, agent: &Agent) -> Result<Memory> {
        let now = agent.unit.main_pid()?;
        ensure!(now == self.pid, "the agent is process {now}, it was {}", self.pid);
        let path = format!("/proc/{now}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let field = |name: &str| {
            // "VmRSS:     5432 kB"
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next());
            number
                .and_then(|number| number.parse().ok())
                .with_context(|| format!("{path} has no {name}"))
        };
        Ok(Memory {
            rss: field("VmRSS")?,
            anon: field("RssAnon")?,
            locked: field("VmLck")?,
        })
    }
}
