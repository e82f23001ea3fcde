//! The main job: a critical unit is swapped, which is told, stopped, and put back.

use anyhow::{Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, Cursor, Setup, SwapLimit, leases_of, push_out},
    units::Unit,
    vmstat::Vmstat,
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "job.memory-reclaim",
        run: memory_reclaim,
        seconds: 120,
    },
    Case {
        name: "job.global-pressure",
        run: global_pressure,
        seconds: 240,
    },
];

/// A root shell pushes a critical unit out: alarm, limit, lease; quiet: everything as it was.
fn memory_reclaim(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let hold = Hold::mib(16);
    let workload = ctx.workload("main-job.service", &hold)?;
    let unit = &workload.unit;
    let agent = ctx.agent(&Setup {
        critical: &["main-job.service"],
        hold: "3s",
        ..Setup::default()
    })?;
    ctx.say(&format!(
        "{} is up, declared critical: {} MiB of random pages",
        unit.name(),
        hold.mib
    ))?;
    ensure!(
        agent.unit.property("ActiveState")? == "active" && agent.unit.property("Type")? == "notify",
        "the agent is not seen to be ready"
    );
    ctx.say("the agent is up: memmon.service, as packaged")?;
    let cgroup = unit.cgroup()?;
    ctx.say(&format!(
        "a root shell writes to {}/memory.reclaim",
        cgroup.path().display()
    ))?;
    let before = Vmstat::read()?;
    push_out(&cgroup)?;
    let alarm = agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    ctx.say(&format!("journal: {}", alarm.text()))?;
    alarm.require(&[
        ("MEMMON_PRIORITY", "critical"),
        ("MEMMON_RECLAIMER", "memmon-vmtest.service"),
        ("MEMMON_RECLAIM_KIND", "proactive"),
        ("OBJECT_SYSTEMD_UNIT", unit.name()),
        ("_SYSTEMD_UNIT", "memmon.service"),
        ("PRIORITY", "2"),
    ])?;
    ensure!(alarm.number("MEMMON_PAGES")? >= 1, "an alarm about no page");
    let changed = agent.told(ctx, Message::LimitChanged, unit.name(), |_| true)?;
    ctx.say(&format!("journal: {}", changed.text()))?;
    changed.require(&[
        ("MEMMON_PROPERTY", "MemorySwapMax"),
        ("MEMMON_OLD", "infinity"),
        ("MEMMON_NEW", "0"),
        ("OBJECT_SYSTEMD_UNIT", unit.name()),
    ])?;
    ctx.wait_tightened(unit)?;
    let leases = leases_of(unit)?;
    ensure!(leases.len() == 1, "one limit, but these leases: {leases:?}");
    ctx.say("memory.swap.max is 0, MemorySwapMax is 0, one lease is on record")?;
    shown_with_the_unit(&agent, unit, alarm.text())?;
    let reactions = agent.reactions_us()?;
    ensure!(
        reactions.len() == 1,
        "one limit was set, but these reactions were logged: {reactions:?}"
    );
    agent.measure_reactions(ctx, "memory.reclaim")?;

    ctx.wait_limit(unit, &SwapLimit::untouched())?;
    let reverted = agent.told(ctx, Message::LimitReverted, unit.name(), |_| true)?;
    ctx.say(&format!("journal: {}", reverted.text()))?;
    reverted.require(&[
        ("MEMMON_PROPERTY", "MemorySwapMax"),
        ("MEMMON_OLD", "0"),
        ("MEMMON_NEW", "infinity"),
    ])?;
    ctx.say("memory.swap.max is max, MemorySwapMax is infinity, no drop-in and no lease is left")?;
    let cleared = agent.told(ctx, Message::AlarmCleared, unit.name(), |_| true)?;
    let pages = cleared.number("MEMMON_PAGES")?;
    let written = Vmstat::read()?.since(&before, "nr_vmscan_write")?;
    ensure!(
        pages >= 1 && pages <= written,
        "{pages} pages in the alarm, {written} written by the kernel"
    );
    ctx.measure("further_pages memory.reclaim", pages - 1)?;
    ensure!(
        workload.tell("verify")? == hold.pages().to_string(),
        "the unit's memory is not what it was"
    );
    agent.stop()?;
    ctx.require_limit(unit, &SwapLimit::untouched())?;
    Outcome::passed(format!(
        "{pages} of {} pages went out; alarm, limit, back",
        hold.pages()
    ))
}

/// `journalctl -u UNIT` shows what memmon did to it.
fn shown_with_the_unit(agent: &Agent, unit: &Unit, text: &str) -> Result<()> {
    let shown = unit.journal()?;
    ensure!(
        shown.contains(text),
        "journalctl -u {} does not show {text:?} of {}: {shown}",
        unit.name(),
        agent.unit.name()
    );
    Ok(())
}

/// Another unit needs all memory there is: the kernel takes that of a critical unit too, and is stopped.
fn global_pressure(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.short_of_memory(224 << 20)?;
    let hold = Hold::mib(32);
    let workload = ctx.workload("pressed.service", &hold)?;
    let unit = &workload.unit;
    // Whose memory can still go when the critical unit's may not.
    ctx.workload("bystander.service", &hold)?;
    let setup = Setup {
        critical: &["pressed.service"],
        hold: "2s",
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    };
    let agent = ctx.agent_installed(&setup)?;
    // The reflex alone: the judgement would spare the unit beforehand, and nothing of it would go out.
    ctx.agent_config(&format!("{}[strategies]\nact = false\n", setup.config()))?;
    agent.unit.start()?;
    let since = Cursor::now()?;
    let alarm = ctx.wait("an alarm while another unit takes memory", || {
        ctx.seize_memory("pressure.service", 24)?;
        Ok(agent
            .entries(Message::AlarmRaised, unit.name())?
            .into_iter()
            .next())
    })?;
    let (kind, by) = (
        alarm.field("MEMMON_RECLAIM_KIND"),
        alarm.field("MEMMON_RECLAIMER"),
    );
    // Who comes first is the kernel's choice: any process may have to find memory then.
    ensure!(
        match kind {
            Some("kswapd") => by == Some("kswapd0"),
            Some("direct") => by.is_some_and(|by| by.ends_with(".service") && by != unit.name()),
            _ => false,
        },
        "pushed out by {by:?}, kind {kind:?}"
    );
    ctx.wait_tightened(unit)?;
    agent.measure_reactions(ctx, "global pressure")?;
    ctx.enough_memory()?;
    ctx.wait_limit(unit, &SwapLimit::untouched())?;
    let cleared = agent.told(ctx, Message::AlarmCleared, unit.name(), |_| true)?;
    let pages = cleared.number("MEMMON_PAGES")?;
    ctx.measure("further_pages global pressure", pages.saturating_sub(1))?;
    let others = since.entries(&[&format!("MESSAGE_ID={}", Message::AlarmRaised.id())])?;
    ensure!(
        others
            .iter()
            .all(|entry| entry.field("MEMMON_UNIT") == Some(unit.name())),
        "an alarm about a unit that is not critical"
    );
    ensure!(
        workload.tell("verify")? == hold.pages().to_string(),
        "the unit's memory is not what it was"
    );
    agent.stop()?;
    Outcome::passed(format!(
        "{} by {}: {pages} pages",
        kind.unwrap_or("?"),
        by.unwrap_or("?")
    ))
}
