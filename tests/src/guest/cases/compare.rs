//! The same shortage with memmon, without it, and under systemd-oomd: measured, and for memmon also asserted.
//!
//! The critical unit is idle while the load rises, as a service is between two requests; what it has cost it shows when
//! it is asked for all of its pages afterwards.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use memmon::decode::Pressure;
use serde_json::{Value, json};

use super::{
    scenario::{self, Alive, Company, Traces, wait_all_back},
    strategies::{first_taken, require_asked_first},
};
use crate::guest::{
    Ctx, Outcome,
    agent::Agent,
    shell,
    undo::Undo,
    units::{Unit, daemon_reload},
    vmstat::Vmstat,
    workload::{Hold, Workload},
};

/// What is available before the load, beside what the units hold.
const AVAILABLE: u64 = 420 << 20;
/// The load: so many units, one after the other, together more than is left.
const LOADS: u32 = 9;
const LOAD_MIB: u64 = 48;
/// Between two of them: a load that rises, not one that falls on the machine.
const STEP: Duration = Duration::from_secs(4);
/// What of the critical unit may go before it is protected: its first pages.
const FIRST_PAGES: u64 = 1 << 20;

/// With memmon, which has to keep its promise.
pub fn with_memmon(ctx: &mut Ctx) -> Result<Outcome> {
    let company = short_company(ctx)?;
    let agent = scenario::agent(ctx, "", "")?;
    let before = company.traces()?;
    agent.unit.start()?;
    let run = run(ctx, "memmon", &company)?;
    run.alive.require(&company)?;
    ensure!(run.stopped.is_empty(), "ended: {:?}", run.stopped);
    ensure!(
        run.critical_peak <= FIRST_PAGES,
        "{} KiB of the critical unit were in swap at once",
        run.critical_peak >> 10
    );
    let said = agent.said()?;
    require_asked_first(&said)?;
    require_low_first(&said)?;
    end(ctx, &company, &agent, &run, &before)?;
    Outcome::passed(run.summary)
}

/// Without anything.
pub fn without(ctx: &mut Ctx) -> Result<Outcome> {
    let company = short_company(ctx)?;
    let run = run(ctx, "nothing", &company)?;
    Outcome::passed(run.summary)
}

/// Under systemd-oomd as Debian ships it (swap, for the root slice), and with its policy for memory pressure on the slice
/// that the units are in, at the limit and the duration that it comes with.
pub fn with_oomd(ctx: &mut Ctx) -> Result<Outcome> {
    let oomd = Unit::named("systemd-oomd.service");
    if oomd.property("LoadState")? != "loaded" {
        return Outcome::skipped("there is no systemd-oomd in this root");
    }
    let root = Unit::named("-.slice");
    ctx.drop_in(&root, "oomd.conf", "[Slice]\nManagedOOMSwap=kill\n")?;
    let slice = Unit::named(scenario::SLICE);
    ctx.drop_in(&slice, "oomd.conf", "[Slice]\nManagedOOMMemoryPressure=kill\n")?;
    ctx.undo()
        .note(&Undo::StopUnit("systemd-oomd.socket".to_owned()))?;
    ctx.undo().note(&Undo::StopUnit(oomd.name().to_owned()))?;
    daemon_reload()?;
    shell::run("systemctl", &["start", "systemd-oomd.socket", oomd.name()])?;
    let company = short_company(ctx)?;
    // What it watches, so that a run in which it watched nothing is not taken for one in which it did nothing.
    let watched = ctx.wait("systemd-oomd watches the slice", || {
        let shown = shell::run("oomctl", &[])?;
        Ok(shown.contains(scenario::SLICE).then_some(shown))
    })?;
    ctx.log("oomctl", &watched)?;
    let run = run(ctx, "systemd-oomd", &company)?;
    ctx.log("oomd", &oomd.journal()?)?;
    Outcome::passed(run.summary)
}

/// Swap on the disk, little memory, and the units.
fn short_company(ctx: &Ctx) -> Result<Company> {
    ctx.short_of_memory(AVAILABLE)?;
    // The default: no help for anonymous memory to go.
    ctx.set("/proc/sys/vm/swappiness", "60")?;
    Company::start(ctx)
}

/// What came of it.
struct Run {
    alive: Alive,
    loads: Vec<Workload>,
    /// Units that are not running any more, with systemd's reason.
    stopped: Vec<String>,
    critical_peak: u64,
    summary: String,
}

fn run(ctx: &Ctx, rival: &str, company: &Company) -> Result<Run> {
    let alive = Alive::now(company)?;
    let vmstat = Vmstat::read()?;
    let critical = &company.critical.unit;
    let before = stalls(critical)?;
    let began = Instant::now();
    let mut loads = Vec::new();
    let mut unserved = Vec::new();
    for number in 0..LOADS {
        let load = ctx.workload_file(&format!("s-load{number}.service"), &Hold::mib(LOAD_MIB))?;
        if let Err(error) = load.unit.start() {
            unserved.push(format!("{}: {error:#}", load.unit.name()));
        }
        loads.push(load);
        // Passing time is what a rising load is about.
        thread::sleep(STEP);
    }
    let served = began.elapsed().saturating_sub(STEP * LOADS);
    let mut peaks = serde_json::Map::new();
    let mut critical_peak = 0;
    for (name, unit) in company.units() {
        let peak = peak(unit).ok();
        if name == "critical" {
            critical_peak = peak.unwrap_or(0);
        }
        peaks.insert(
            name.to_owned(),
            peak.map_or(Value::Null, |peak| json!(peak >> 10)),
        );
    }
    // The request after it: every page of the critical unit is wanted.
    let request = Instant::now();
    let answered = company.critical.tell("touch").is_ok();
    let request = request.elapsed();
    let after = stalls(critical).ok();
    let vmstat_now = Vmstat::read()?;
    let units: Vec<&Unit> = company
        .units()
        .map(|(_, unit)| unit)
        .into_iter()
        .chain(loads.iter().map(|load| &load.unit))
        .collect();
    let stopped = stopped(&units)?;
    let stall = |of: fn(&Pressure) -> u64| after.as_ref().map(|after| (of(after) - of(&before)) / 1000);
    let value = json!({
        "swapped_kib_at_most": peaks,
        "host_pages_out": vmstat_now.since(&vmstat, "pswpout")?,
        "critical_some_ms": stall(|pressure| pressure.some.total_us),
        "critical_full_ms": stall(|pressure| pressure.full.total_us),
        "oom_kills": vmstat_now.since(&vmstat, "oom_kill")?,
        "stopped": stopped,
        "unserved": unserved,
        "load_served_s": served.as_secs_f64(),
        "request_ms": u64::try_from(request.as_millis())?,
        "answered": answered,
    });
    ctx.measure(&format!("compare {rival}"), value.clone())?;
    Ok(Run {
        alive,
        loads,
        stopped,
        critical_peak,
        summary: format!("{rival}: {value}"),
    })
}

fn end(ctx: &Ctx, company: &Company, agent: &Agent, run: &Run, before: &Traces) -> Result<()> {
    for load in &run.loads {
        load.unit.stop()?;
    }
    wait_all_back(ctx, company, before)?;
    agent.stop()
}

/// What is taken first is taken from a low unit.
fn require_low_first(said: &[String]) -> Result<()> {
    let first = first_taken(said).context("nothing was taken")?;
    ensure!(
        said[first].contains("s-low.service") || said[first].contains("s-load"),
        "not from a low unit first: {}",
        said[first]
    );
    Ok(())
}

/// How much of a unit was in swap at once, bytes; where the kernel does not keep that (before 6.5), what is now.
fn peak(unit: &Unit) -> Result<u64> {
    let cgroup = unit.cgroup()?;
    cgroup
        .number("memory.swap.peak")
        .or_else(|_| cgroup.number("memory.swap.current"))
}

fn stalls(unit: &Unit) -> Result<Pressure> {
    let text = unit.cgroup()?.read("memory.pressure")?;
    Pressure::parse(&text).context("memory.pressure")
}

fn stopped(units: &[&Unit]) -> Result<Vec<String>> {
    let mut stopped = Vec::new();
    for unit in units {
        if unit.property("ActiveState")? != "active" {
            stopped.push(format!("{} ({})", unit.name(), unit.property("Result")?));
        }
    }
    Ok(stopped)
}
