//! The agent on the system bus: what it answers, to whom, and what becomes of it when the bus goes.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use memmon::export::journal::Message;
use serde_json::Value;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, Setup, SwapLimit, as_user, call, push_out, report, wait_on_bus},
    documents::document,
    http, shell,
    units::Unit,
    workload::{Hold, Workload},
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "bus.methods",
        run: methods,
        seconds: 150,
    },
    Case {
        name: "bus.sums",
        run: sums,
        seconds: 240,
    },
    Case {
        name: "bus.restart",
        run: restart,
        seconds: 150,
    },
];

/// Not root, and nobody in particular.
const NOBODY: u32 = 65_534;

/// Every method, as root and as nobody; an alarm is in the report and in the status; RevertAll puts the limit back.
fn methods(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload("bus-case.service", &Hold::mib(8))?;
    let unit = &workload.unit;
    let agent = ctx.agent(&Setup {
        critical: &["bus-case.service"],
        ..Setup::default()
    })?;
    wait_on_bus(ctx)?;
    let tree = shell::run(
        "busctl",
        &["introspect", "org.omnimind.memmon1", "/org/omnimind/memmon1"],
    )?;
    for member in ["GetReport", "TagRegion", "AlarmRaised", "ReleaseRequested"] {
        ensure!(tree.contains(member), "{member} is not in\n{tree}");
    }
    push_out(&unit.cgroup()?)?;
    agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    ctx.wait_tightened(unit)?;
    let seen = report()?;
    let alarm = seen["alarms"]
        .as_array()
        .and_then(|alarms| alarms.iter().find(|alarm| alarm["unit"] == unit.name()))
        .with_context(|| format!("no alarm about {} in {}", unit.name(), seen["alarms"]))?;
    ensure!(alarm["severity"] == "critical", "{alarm}");
    let ours = unit_of(&seen, unit)?;
    let pages = ours["swapout_pages"].as_u64().context("swapout_pages is null")?;
    ensure!(pages > 0 && ours["critical_pages_swapped"] == pages, "{ours}");
    ensure!(ours["leases"][0]["property"] == "MemorySwapMax", "{ours}");
    let blamed = seen["blame"].as_array().into_iter().flatten();
    let blamed: u64 = blamed
        .filter(|blame| blame["victim"] == unit.name())
        .filter_map(|blame| blame["pages"].as_u64())
        .sum();
    ensure!(
        blamed == pages,
        "{pages} pages went out, {blamed} were blamed on somebody"
    );
    let units = call("ListUnits", &[])?;
    ensure!(
        units.contains(&format!("\"{}\" \"critical\"", unit.name())),
        "{units}"
    );
    let status = shell::run("memmon", &["status"])?;
    ensure!(
        status.contains("MemorySwapMax") && status.contains(unit.name()),
        "{status}"
    );
    let status = document("memmon.status/1", &shell::run("memmon", &["status", "--json"])?)?;
    ensure!(
        status.to_string().contains(unit.name()),
        "the unit is not in the status: {status}"
    );
    ctx.say(&format!(
        "{} has an alarm and a lease in report and status",
        unit.name()
    ))?;

    for (method, arguments) in [("ApplyStrategies", &["b", "false"][..]), ("RevertAll", &[])] {
        let called = as_user(NOBODY, method, arguments)?;
        ensure!(
            !called.ok && called.text.to_lowercase().contains("denied"),
            "{method}: {called:?}"
        );
    }
    ctx.require_lease(unit)?;
    for method in ["GetReport", "ListUnits"] {
        let called = as_user(NOBODY, method, &[])?;
        ensure!(
            called.ok && called.text.contains(unit.name()),
            "{method}: {called:?}"
        );
    }
    let dry = call("ApplyStrategies", &["b", "true"])?;
    ensure!(dry.contains("bus-case.service"), "{dry}");
    ctx.require_lease(unit)?;
    call("RevertAll", &[])?;
    ctx.require_limit(unit, &SwapLimit::untouched())?;
    ctx.say("RevertAll returned, and everything is as before")?;
    agent.stop()?;
    Outcome::passed("every method answered, and only root was obeyed")
}

/// Times that each unit goes to swap and its alarm clears.
const ROUNDS: usize = 4;

/// However readings of the counters interleave — scrapes, reports, alarms that clear — the agent's sums are what
/// went to swap, page by page.
fn sums(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let hold = Hold::mib(12);
    let workloads = [
        ctx.workload("sums-a.service", &hold)?,
        ctx.workload("sums-b.service", &hold)?,
    ];
    let agent = ctx.agent(&Setup {
        critical: &["sums-*"],
        // So that they go to swap again and again.
        reaction: "alarm-only",
        hold: "1s",
        service: Setup::EVERY_SECOND,
    })?;
    wait_on_bus(ctx)?;
    let tracer = ctx.trace(&[])?;
    let stop = AtomicBool::new(false);
    let asked = thread::scope(|scope| -> Result<u64> {
        let asking = scope.spawn(|| ask(&stop));
        let swapped = swap_in_rounds(ctx, &agent, &workloads);
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| anyhow!("the asking has panicked"))?;
        swapped.and(asked)
    })?;
    ctx.wait("no alarm is on", || {
        let on = report()?["alarms"].as_array().map_or(0, Vec::len);
        Ok((on == 0).then_some(()))
    })?;
    let stream = tracer.finish(ctx)?;
    let mut compared = Vec::new();
    for workload in &workloads {
        let name = workload.unit.name();
        let of_unit = stream.lines.iter().filter(|line| line.unit == name);
        let traced: u64 = of_unit.map(|line| line.pages).sum();
        ensure!(
            traced >= hold.pages(),
            "{traced} pages of {name}: this compares nothing"
        );
        let told: u64 = agent
            .entries(Message::AlarmCleared, name)?
            .iter()
            .map(|entry| entry.number("MEMMON_PAGES"))
            .sum::<Result<u64>>()?;
        let scraped = scraped(name)?;
        let reported = unit_of(&report()?, &workload.unit)?["swapout_pages"].clone();
        ensure!(
            scraped == traced && reported == traced && told == traced,
            "{traced} pages of {name} went to swap; {scraped} are among the metrics, {reported} in the report, {told} in \
             alarms that are over"
        );
        compared.push(traced);
    }
    agent.stop()?;
    Outcome::passed(format!("{compared:?} pages, asked for {asked} times meanwhile"))
}

/// Each unit out, back in, and out again, until its alarm is over: so many times.
fn swap_in_rounds(ctx: &Ctx, agent: &Agent, workloads: &[Workload]) -> Result<()> {
    for round in 0..ROUNDS {
        for workload in workloads {
            let cgroup = workload.unit.cgroup()?;
            push_out(&cgroup)?;
            workload.tell("touch")?;
            push_out(&cgroup)?;
        }
        for workload in workloads {
            ctx.wait("the alarm is over", || {
                let cleared = agent.entries(Message::AlarmCleared, workload.unit.name())?;
                Ok((cleared.len() > round).then_some(()))
            })?;
        }
    }
    Ok(())
}

/// Asks the agent in every way there is, and checks that no sum falls. Returns how many times.
fn ask(stop: &AtomicBool) -> Result<u64> {
    let mut asked = 0;
    let mut before = 0;
    while !stop.load(Ordering::Relaxed) {
        let now = scraped("sums-a.service")?;
        ensure!(now >= before, "the sum has fallen from {before} to {now}");
        before = now;
        call("GetReport", &[])?;
        call("RevertAll", &[])?;
        asked += 1;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(asked)
}

/// Swapped-out pages of a unit, all kinds, by the metrics.
fn scraped(unit: &str) -> Result<u64> {
    let (_, page) = http::get(9757, "/metrics")?.context("nobody serves metrics")?;
    let series = format!("memmon_swapout_pages_total{{unit=\"{unit}\",");
    let of_unit = page.lines().filter(|line| line.starts_with(&series));
    of_unit
        .map(|line| {
            let (_, value) = line.rsplit_once(' ').context("a series without a value")?;
            value
                .parse::<u64>()
                .with_context(|| format!("the value of {line}"))
        })
        .sum()
}

/// The bus is killed and comes back: the agent works on and is on it again.
fn restart(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload("bus-restart.service", &Hold::mib(8))?;
    let unit = &workload.unit;
    let agent = ctx.agent(&Setup {
        critical: &["bus-restart.service"],
        hold: "2s",
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    })?;
    wait_on_bus(ctx)?;
    let bus = Unit::named("dbus.service");
    bus.kill("KILL")?;
    push_out(&unit.cgroup()?)?;
    agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    ctx.say("the bus was killed, and the alarm came all the same")?;
    // dbus.socket starts it again with the next connection.
    wait_on_bus(ctx)?;
    ensure!(
        unit_of(&report()?, unit)?["priority"] == "critical",
        "not the unit's priority"
    );
    ctx.say("the agent is back on the bus")?;
    ctx.wait_limit(unit, &SwapLimit::untouched())?;
    agent.stop()?;
    Outcome::passed("the alarm did not wait for the bus, and the agent came back to it")
}

fn unit_of(report: &Value, unit: &Unit) -> Result<Value> {
    let mut units = report["units"].as_array().into_iter().flatten();
    units
        .find(|each| each["unit"] == unit.name())
        .cloned()
        .with_context(|| format!("{} is not in the report", unit.name()))
}
