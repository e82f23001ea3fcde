//! Units that stop, restart or are gone while memmon holds a limit of theirs, or is about to.

use anyhow::{Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Setup, SwapLimit, leases, leases_of, push_out},
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "lifecycle.restart-and-stop",
        run: restart_and_stop,
        seconds: 150,
    },
    Case {
        name: "lifecycle.stopped-for-good",
        run: stopped_for_good,
        seconds: 120,
    },
    Case {
        name: "lifecycle.gone",
        run: gone,
        seconds: 120,
    },
];

/// A restarted unit inherits memmon's limit with systemd's property, and gets rid of both; nothing of a
/// stopped one's is left.
fn restart_and_stop(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let [file, run, instance] = ctx.every_kind("life", &Hold::mib(4))?;
    let stopped = ctx.workload("life-stopped.service", &Hold::mib(4))?.unit;
    let agent = ctx.agent(&Setup {
        critical: &["life*"],
        ..Setup::default()
    })?;
    for unit in [&file, &run, &instance, &stopped] {
        push_out(&unit.cgroup()?)?;
    }
    for unit in [&file, &run, &instance, &stopped] {
        ctx.wait_tightened(unit)?;
    }
    for unit in [&file, &instance] {
        let before = unit.cgroup()?.id()?;
        unit.restart()?;
        ensure!(
            unit.cgroup()?.id()? != before,
            "{} kept its cgroup: this compares nothing",
            unit.name()
        );
        let limit = SwapLimit::of(unit)?;
        ensure!(
            limit.file == "0" && limit.property == "0" && leases_of(unit)?.len() == 1,
            "{} after its restart: {limit:?}, leases {:?}",
            unit.name(),
            leases_of(unit)?
        );
    }
    stopped.stop()?;
    // Transient: gone with its last process, and all systemd knew about it.
    run.stop()?;
    agent.stop()?;
    ensure!(leases()?.is_empty(), "leases are left: {:?}", leases()?);
    let problems = agent.entries(Message::LimitFailed, "")?;
    ensure!(problems.is_empty(), "told as a failure: {}", problems[0].text());
    for unit in [&file, &instance] {
        ctx.require_limit(unit, &SwapLimit::untouched())?;
    }
    stopped.start()?;
    ctx.require_limit(&stopped, &SwapLimit::untouched())?;
    Outcome::passed("two restarted with the limit and lost it, two stopped")
}

/// A unit that stops and does not come back loses its lease with the quiet time, and nothing is left of it.
fn stopped_for_good(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let units = ctx.every_kind("stopped", &Hold::mib(4))?;
    let agent = ctx.agent(&Setup {
        critical: &["stopped*"],
        hold: "5s",
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    })?;
    for unit in &units {
        push_out(&unit.cgroup()?)?;
        agent.told(ctx, Message::LimitChanged, unit.name(), |_| true)?;
        unit.stop()?;
    }
    for unit in &units {
        agent.told(ctx, Message::AlarmCleared, unit.name(), |_| true)?;
        ensure!(leases_of(unit)?.is_empty(), "the alarm is over, the lease is not");
    }
    let [file, _, instance] = &units;
    for unit in [file, instance] {
        unit.start()?;
        ctx.require_limit(unit, &SwapLimit::untouched())?;
    }
    let failed = agent.entries(Message::LimitFailed, "")?;
    ensure!(failed.is_empty(), "told as a failure: {}", failed[0].text());
    agent.stop()?;
    Outcome::passed("alarms cleared, leases ended, started again without a limit")
}

/// The agent learns of a page only when its unit is gone: nothing is changed, and nothing is told as failed.
fn gone(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let gone = ctx.workload("gone.service", &Hold::mib(4))?.unit;
    let restarted = ctx.workload("gone-restarted.service", &Hold::mib(4))?.unit;
    let there = ctx.workload("gone-not.service", &Hold::mib(4))?.unit;
    let agent = ctx.agent(&Setup {
        critical: &["gone*"],
        ..Setup::default()
    })?;
    agent.unit.kill("STOP")?;
    for unit in [&gone, &restarted, &there] {
        push_out(&unit.cgroup()?)?;
    }
    gone.stop()?;
    restarted.restart()?;
    agent.unit.kill("CONT")?;
    ctx.wait_tightened(&there)?;
    for unit in [&gone, &restarted] {
        agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    }
    for message in [Message::LimitFailed, Message::LeaseKept] {
        let entries = agent.entries(message, "")?;
        ensure!(entries.is_empty(), "{message:?}: {}", entries[0].text());
    }
    let of_gone = agent.entries(Message::LimitChanged, gone.name())?;
    ensure!(of_gone.is_empty(), "changed although gone: {}", of_gone[0].text());
    ensure!(
        leases_of(&gone)?.is_empty(),
        "a lease on what is gone: {:?}",
        leases_of(&gone)?
    );
    agent.stop()?;
    for unit in [&restarted, &there] {
        ctx.require_limit(unit, &SwapLimit::untouched())?;
    }
    Outcome::passed("one gone, one in a new cgroup, one still there: the last was tightened")
}
