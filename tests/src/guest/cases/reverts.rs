//! Every limit goes back: when it is quiet again, and when the agent ends, however it ends.

use anyhow::{Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, Setup, SwapLimit, leases, leases_of, push_out},
    units::Unit,
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "reverts.quiet",
        run: quiet,
        seconds: 120,
    },
    Case {
        name: "reverts.sigterm",
        run: sigterm,
        seconds: 120,
    },
    Case {
        name: "reverts.sigkill",
        run: sigkill,
        seconds: 120,
    },
    Case {
        name: "reverts.watchdog",
        run: watchdog,
        seconds: 120,
    },
];

/// Units of every kind, all of them swapped and tightened.
fn tightened(ctx: &Ctx, name: &str, service: &str) -> Result<(Agent, [Unit; 3])> {
    ctx.swap_on_zram(256)?;
    let units = ctx.every_kind(name, &Hold::mib(4))?;
    let agent = ctx.agent(&Setup {
        critical: &[&format!("{name}*")],
        service,
        ..Setup::default()
    })?;
    for unit in &units {
        push_out(&unit.cgroup()?)?;
    }
    for unit in &units {
        ctx.wait_tightened(unit)?;
    }
    Ok((agent, units))
}

/// After a quiet time units of every kind have their old value back, and no drop-in is left.
fn quiet(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let units = ctx.every_kind("calm", &Hold::mib(4))?;
    let agent = ctx.agent(&Setup {
        critical: &["calm*"],
        hold: "3s",
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    })?;
    for unit in &units {
        push_out(&unit.cgroup()?)?;
        ctx.wait_tightened(unit)?;
    }
    for unit in &units {
        let entry = agent.told(ctx, Message::LimitReverted, unit.name(), |_| true)?;
        let reason = entry.field("MEMMON_REASON").unwrap_or_default();
        ensure!(reason.contains("quiet"), "{}: {reason}", unit.name());
        ctx.wait_limit(unit, &SwapLimit::untouched())?;
    }
    ctx.wait("no lease is left", || Ok(leases()?.is_empty().then_some(())))?;
    agent.stop()?;
    Outcome::passed("a unit file, a transient unit, an instance: back when it was quiet")
}

/// Stopping the service puts everything back; in a scope only the cgroup was ever changed.
fn sigterm(ctx: &mut Ctx) -> Result<Outcome> {
    let (agent, units) = tightened(ctx, "term", "")?;
    let scope = ctx.scope("term-scope.scope", &Hold::mib(4))?;
    let cgroup = scope.cgroup()?;
    push_out(&cgroup)?;
    ctx.wait("the scope's lease is known to be in its cgroup only", || {
        let leases = leases_of(&scope)?;
        let cgroup_only = |lease: &serde_json::Value| lease.pointer("/state/cgroup_only").is_some();
        Ok(leases.iter().any(cgroup_only).then_some(()))
    })?;
    let limit = SwapLimit::of(&scope)?;
    ensure!(
        limit.file == "0" && limit.property == "infinity" && limit.drop_ins.is_empty(),
        "a scope's limit belongs into its cgroup only: {limit:?}"
    );
    agent.stop()?;
    for unit in units.iter().chain([&scope]) {
        ctx.require_limit(unit, &SwapLimit::untouched())?;
    }
    ensure!(leases()?.is_empty(), "leases are left: {:?}", leases()?);
    Outcome::passed("a unit file, a transient unit, an instance, a scope: back")
}

/// The next start of an agent that was killed puts everything back, before anything else.
fn sigkill(ctx: &mut Ctx) -> Result<Outcome> {
    let (agent, units) = tightened(ctx, "kill", "")?;
    let before = agent.unit.main_pid()?;
    agent.unit.kill("KILL")?;
    let after = put_back_by_the_next(ctx, &agent, before, &units)?;
    agent.stop()?;
    Outcome::passed(format!(
        "{before} was killed, {after} put back what it had changed"
    ))
}

/// An agent that hangs is ended and started again by systemd.
fn watchdog(ctx: &mut Ctx) -> Result<Outcome> {
    let (agent, units) = tightened(ctx, "dog", "WatchdogSec=4s\nTimeoutAbortSec=2s")?;
    let beat = || agent.unit.property("WatchdogTimestampMonotonic");
    let first = beat()?;
    ctx.wait("the watchdog hears of the agent", || {
        Ok((beat()? != first).then_some(()))
    })?;
    let before = agent.unit.main_pid()?;
    agent.unit.kill("STOP")?;
    let after = put_back_by_the_next(ctx, &agent, before, &units)?;
    ensure!(
        agent.unit.journal()?.contains("Watchdog timeout"),
        "{before} ended, but not by the watchdog"
    );
    agent.stop()?;
    Outcome::passed(format!("{before} hung, {after} put back what it had changed"))
}

/// Waits for systemd to start the agent again and for that to undo what the process before it did.
fn put_back_by_the_next(ctx: &Ctx, agent: &Agent, before: u32, units: &[Unit]) -> Result<u32> {
    let after = ctx.wait("systemd starts the agent again", || {
        let pid: u32 = agent.unit.property("MainPID")?.parse()?;
        let active = agent.unit.property("ActiveState")? == "active";
        Ok((active && pid != 0 && pid != before).then_some(pid))
    })?;
    for unit in units {
        ctx.wait_limit(unit, &SwapLimit::untouched())?;
        let by = |pid: u32| {
            agent.told(ctx, Message::LimitReverted, unit.name(), |entry| {
                entry.field("_PID") == Some(&pid.to_string())
            })
        };
        let entry = by(after)?;
        let reason = entry.field("MEMMON_REASON").unwrap_or_default();
        ensure!(
            reason.contains("an earlier agent"),
            "put back for another reason: {reason}"
        );
    }
    ensure!(leases()?.is_empty(), "leases are left: {:?}", leases()?);
    Ok(after)
}
