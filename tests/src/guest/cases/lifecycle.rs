//! Units that stop, restart or are gone while memmon holds a limit of theirs, or is about to.

use anyhow::{Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Setup, SwapLimit, leases, leases_of, push_out},
    cases::limits::oom_kills,
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
        name: "lifecycle.restarted-into-its-limit",
        run: restarted_into_its_limit,
        seconds: 400,
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

/// What the unit that fails holds at first, its limit, and what it wants the second time, MiB.
const FIRST_MIB: u64 = 8;
const LIMIT_MIB: u64 = 88;
const SECOND_MIB: u64 = 2 * LIMIT_MIB;

/// A unit whose swap is stopped fails, is started again and fills twice its limit at once: it gets its swap back
/// before that, as it would live without memmon.
fn restarted_into_its_limit(ctx: &mut Ctx) -> Result<Outcome> {
    const SIZE: &str = "/run/memmon-test/size";
    ctx.swap_on_zram(256)?;
    let slice = ctx.unit_file("again.slice", "[Slice]\n")?;
    slice.start()?;
    let size = |mib: u64| ctx.write_file(SIZE, &format!("MIB={mib}\n"));
    let service = format!(
        "Slice=again.slice\nMemoryMax={LIMIT_MIB}M\nRestart=always\nRestartSec=0\nEnvironmentFile={SIZE}\nExecStart=\n\
         ExecStart=/usr/bin/memmon-workload hold --mib=${{MIB}} --control=/run/memmon-test/again.service.sock"
    );
    let hold = Hold {
        service: &service,
        ..Hold::mib(FIRST_MIB)
    };
    let workload = ctx.workload_file("again.service", &hold)?;
    size(FIRST_MIB)?;
    let unit = &workload.unit;
    unit.start()?;
    let agent = ctx.agent(&Setup {
        critical: &["again.service"],
        ..Setup::default()
    })?;
    push_out(&unit.cgroup()?)?;
    ctx.wait_tightened(unit)?;
    size(SECOND_MIB)?;
    let (pid, cgroup) = (unit.main_pid()?, unit.cgroup()?.id()?);
    unit.kill("KILL")?;
    ctx.wait("the unit has filled twice its limit", || {
        let kills = oom_kills(&slice.cgroup()?)?;
        ensure!(kills == 0, "{kills} processes were killed for lack of memory");
        let again = unit.property("ActiveState")? == "active" && unit.main_pid()? != pid;
        Ok(again.then_some(()))
    })?;
    ensure!(
        unit.cgroup()?.id()? != cgroup,
        "the same cgroup: this compares nothing"
    );
    let swapped = unit.cgroup()?.number("memory.swap.current")?;
    ensure!(
        swapped > 0 && unit.property("NRestarts")? == "1",
        "{swapped} bytes in swap, started again {} times",
        unit.property("NRestarts")?
    );
    let given_back = agent.told(ctx, Message::LimitReverted, unit.name(), |_| true)?;
    ctx.say(&format!("journal: {}", given_back.text()))?;
    ctx.wait("no lease is left", || {
        Ok(leases_of(unit)?.is_empty().then_some(()))
    })?;
    ctx.require_limit(unit, &SwapLimit::untouched())?;
    agent.stop()?;
    Outcome::passed(format!(
        "{SECOND_MIB} MiB with MemoryMax={LIMIT_MIB}M, {} MiB of them in swap",
        swapped >> 20
    ))
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
