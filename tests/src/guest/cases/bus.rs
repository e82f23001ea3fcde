//! The agent on the system bus: what it answers, to whom, and what becomes of it when the bus goes.

use anyhow::{Context, Result, ensure};
use memmon::export::journal::Message;
use serde_json::Value;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Setup, SwapLimit, as_user, call, push_out, report, wait_on_bus},
    shell,
    units::Unit,
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "bus.methods",
        run: methods,
        seconds: 150,
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
