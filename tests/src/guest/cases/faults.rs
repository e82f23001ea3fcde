//! What the agent needs is missing or damaged.

use std::fs;

use anyhow::{Context, Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{LEASES, Setup, SwapLimit, leases, leases_of, push_out},
    shell,
    undo::Undo,
    units::Unit,
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "faults.no-bus",
        run: no_bus,
        seconds: 150,
    },
    Case {
        name: "faults.damaged-leases",
        run: damaged_leases,
        seconds: 120,
    },
    Case {
        name: "faults.protected-units",
        run: protected_units,
        seconds: 120,
    },
];

/// Without D-Bus the limit is set all the same; systemd hears of it when the bus is back.
fn no_bus(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let early = ctx.workload("bus-early.service", &Hold::mib(4))?.unit;
    let late = ctx.workload("bus-late.service", &Hold::mib(4))?.unit;
    let agent = ctx.agent(&Setup {
        critical: &["bus-*"],
        ..Setup::default()
    })?;
    // One lease while the connection is there, so that it is one that breaks.
    push_out(&early.cgroup()?)?;
    ctx.wait_tightened(&early)?;

    ctx.undo().note(&Undo::StartUnit("dbus.socket".to_owned()))?;
    shell::run("systemctl", &["stop", "dbus.socket", "dbus.service"])?;
    let cgroup = late.cgroup()?;
    push_out(&cgroup)?;
    ctx.wait("memory.swap.max is 0 without a bus", || {
        Ok((cgroup.read("memory.swap.max")? == "0").then_some(()))
    })?;
    let failed = agent.told(ctx, Message::LimitFailed, late.name(), |_| true)?;
    ensure!(
        failed.text().contains("systemd"),
        "what failed is not said: {}",
        failed.text()
    );
    ensure!(
        late.property("MemorySwapMax")? == "infinity" && leases_of(&late)?.len() == 1,
        "without a bus: {:?}, leases {:?}",
        SwapLimit::of(&late)?,
        leases_of(&late)?
    );

    shell::run("systemctl", &["start", "dbus.socket"])?;
    ctx.wait_tightened(&late)?;
    agent.stop()?;
    for unit in [&early, &late] {
        ctx.require_limit(unit, &SwapLimit::untouched())?;
    }
    Outcome::passed(failed.text())
}

/// A damaged lease file is kept, nothing in it is believed, and the agent starts and says so.
fn damaged_leases(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let unit = ctx.workload("damaged.service", &Hold::mib(4))?.unit;
    let agent = ctx.agent(&Setup {
        critical: &["damaged.service"],
        // Killed, it stays down until the file is damaged.
        service: "Restart=no",
        ..Setup::default()
    })?;
    push_out(&unit.cgroup()?)?;
    ctx.wait_tightened(&unit)?;
    agent.unit.kill("KILL")?;
    ctx.wait("the agent is down", || {
        Ok((agent.unit.property("ActiveState")? == "failed").then_some(()))
    })?;
    let damaged = fs::read_to_string(LEASES).context("reading leases.json")? + "not of memmon\n";
    fs::write(LEASES, &damaged).context("writing leases.json")?;

    agent.unit.start()?;
    let told = agent.told(ctx, Message::LeaseFileCorrupt, "", |_| true)?;
    told.require(&[("PRIORITY", "3")])?;
    let kept = format!("{LEASES}.corrupt-1");
    ensure!(
        told.text().contains(&kept) && told.text().contains(unit.name()),
        "where it is kept and what it named is not said: {}",
        told.text()
    );
    ensure!(
        fs::read_to_string(&kept)? == damaged,
        "{kept} is not what was there"
    );
    ensure!(leases()?.is_empty(), "leases were guessed: {:?}", leases()?);
    let limit = SwapLimit::of(&unit)?;
    ensure!(
        limit.file == "0" && limit.property == "0",
        "a limit was put back on the word of a damaged file: {limit:?}"
    );
    agent.stop()?;
    Outcome::passed(told.text())
}

/// Whatever the configuration says, what the host cannot be repaired without is left alone.
fn protected_units(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let mine = ctx.workload("unprotected.service", &Hold::mib(4))?.unit;
    let agent = ctx.agent(&Setup {
        critical: &["*"],
        ..Setup::default()
    })?;
    let units = [
        "systemd-journald.service",
        "systemd-udevd.service",
        "dbus.service",
        "init.scope",
    ]
    .map(Unit::named);
    let mut swapped = Vec::new();
    for unit in &units {
        let cgroup = unit.cgroup()?;
        for pid in cgroup.processes()? {
            for range in crate::workload::advise::anonymous_ranges(pid)? {
                crate::workload::advise::pageout(pid, range)?;
            }
        }
        if cgroup.number("memory.swap.current")? > 0 {
            swapped.push(unit);
        }
    }
    // The one unit that may be acted upon comes last: once it is, the agent has dealt with the others.
    push_out(&mine.cgroup()?)?;
    ctx.wait_tightened(&mine)?;
    ensure!(
        !swapped.is_empty(),
        "nothing of any protected unit went to swap: this compares nothing"
    );
    for unit in &swapped {
        agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    }
    for unit in &units {
        let file = unit.cgroup()?.read("memory.swap.max")?;
        ensure!(
            file == "max" && leases_of(unit)?.is_empty(),
            "{}: memory.swap.max is {file}",
            unit.name()
        );
        let changes = agent.entries(Message::LimitChanged, unit.name())?;
        ensure!(changes.is_empty(), "{}", changes[0].text());
    }
    agent.stop()?;
    ctx.require_limit(&mine, &SwapLimit::untouched())?;
    let names: Vec<&str> = swapped.iter().map(|unit| unit.name()).collect();
    Outcome::passed(format!("alarms only: {}", names.join(", ")))
}
