//! Critical units that run into a limit: without swap they would be killed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use memmon::export::journal::Message;

use super::strategies::require_asked_first;
use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, Setup, SwapLimit, leases, leases_of, push_out},
    cgroup::Cgroup,
    memory_stat,
    units::{Unit, daemon_reload},
    workload::{Hold, Workload},
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "limits.auto-kills-nothing",
        run: auto,
        seconds: 150,
    },
    Case {
        name: "limits.zero-and-its-price",
        run: zero,
        seconds: 150,
    },
    Case {
        name: "limits.who-shares-it-gives-way",
        run: shared,
        seconds: 180,
    },
    Case {
        name: "limits.growth-gives-swap-back",
        run: growth,
        seconds: 180,
    },
    Case {
        name: "limits.memory-high-is-raised",
        run: memory_high,
        seconds: 120,
    },
];

/// What the units hold, twice as much as their limit.
const HOLD_MIB: u64 = 32;
const LIMIT: &str = "MemoryMax=16M";

/// A unit with a limit, and one under a slice with the same limit; each in a slice that outlives it, whose
/// counters therefore can be read whatever becomes of the unit.
struct Limited {
    unit: Workload,
    slice: Unit,
    /// The cgroup that carries the limit.
    binding: String,
}

fn limited(ctx: &Ctx) -> Result<[Limited; 2]> {
    let own_slice = ctx.unit_file("judge.slice", "[Slice]\n")?;
    let capped_slice = ctx.unit_file("capped.slice", &format!("[Slice]\n{LIMIT}\n"))?;
    let hold = |service| Hold {
        service,
        ..Hold::mib(HOLD_MIB)
    };
    let own_service = format!("Slice=judge.slice\n{LIMIT}");
    let own = ctx.workload_file("limited.service", &hold(&own_service))?;
    let capped = ctx.workload_file("capped.service", &hold("Slice=capped.slice"))?;
    for slice in [&own_slice, &capped_slice] {
        slice.start()?;
    }
    Ok([
        Limited {
            unit: own,
            slice: own_slice,
            binding: "/judge.slice/limited.service".to_owned(),
        },
        Limited {
            unit: capped,
            slice: capped_slice,
            binding: "/capped.slice".to_owned(),
        },
    ])
}

/// Processes killed for lack of memory in a cgroup and below.
///
/// # Errors
/// If its `memory.events` cannot be read.
pub fn oom_kills(cgroup: &Cgroup) -> Result<u64> {
    let events = cgroup.read("memory.events")?;
    let line = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.context("memory.events has no oom_kill")?
        .parse()
        .with_context(|| format!("memory.events: {events}"))
}

/// The alarm names the limit and who carries it.
fn names_the_limit(ctx: &Ctx, agent: &Agent, limited: &Limited) -> Result<()> {
    let alarm = agent.told(ctx, Message::AlarmRaised, limited.unit.unit.name(), |_| true)?;
    let named = format!("memory.max 16.0 MiB of {},", limited.binding);
    ensure!(
        alarm.text().contains(&named),
        "the alarm does not say {named:?}: {}",
        alarm.text()
    );
    alarm.require(&[("MEMMON_RECLAIM_KIND", expected_kind())])
}

/// Which limit it was is known only where fentry programs can be loaded, as on all of these kernels.
const fn expected_kind() -> &'static str {
    "limit"
}

/// With `auto` the units live on their swap, as they would without memmon.
fn auto(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let all = limited(ctx)?;
    let agent = ctx.agent(&Setup {
        critical: &["limited.service", "capped.service"],
        ..Setup::default()
    })?;
    for limited in &all {
        limited.unit.unit.start()?;
    }
    for limited in &all {
        names_the_limit(ctx, &agent, limited)?;
        // Every page there and back again, so that half of them are swapped once more.
        let pages = limited.unit.tell("verify")?;
        ensure!(
            pages == Hold::mib(HOLD_MIB).pages().to_string(),
            "{pages} pages verified"
        );
    }
    for limited in &all {
        let unit = &limited.unit.unit;
        ctx.require_limit(unit, &SwapLimit::untouched())?;
        let kills = oom_kills(&limited.slice.cgroup()?)?;
        ensure!(
            kills == 0,
            "{kills} processes of {} were killed",
            limited.slice.name()
        );
        let changes = agent.entries(Message::LimitChanged, unit.name())?;
        ensure!(changes.is_empty(), "changed nevertheless: {}", changes[0].text());
    }
    agent.stop()?;
    Outcome::passed(format!(
        "{HOLD_MIB} MiB each with {LIMIT}: both alive, both named"
    ))
}

/// The limit is a slice's, and a low unit shares it: it gives way, although the host has room, and all of the critical
/// one fits again.
fn shared(ctx: &mut Ctx) -> Result<Outcome> {
    const CRITICAL: &str = "shares-critical.service";
    const LOW: &str = "shares-low.service";
    const MAX_MIB: u64 = 160;
    ctx.swap_on_zram(256)?;
    let slice = ctx.unit_file("shares.slice", &format!("[Slice]\nMemoryMax={MAX_MIB}M\n"))?;
    slice.start()?;
    let start = |name, mib| {
        let hold = Hold {
            service: "Slice=shares.slice",
            ..Hold::mib(mib)
        };
        ctx.workload(name, &hold)
    };
    let critical = start(CRITICAL, 32)?;
    let agent = ctx.agent_installed(&Setup::default())?;
    ctx.agent_config(&format!(
        "[units]\n\"{CRITICAL}\" = \"critical\"\n\"{LOW}\" = \"low\"\n\
         [strategies]\ngrace = \"1s\"\ncool_down = \"2s\"\n"
    ))?;
    agent.unit.start()?;
    // More than fits: used over and over, it takes the idle unit's pages sooner or later.
    let low = start(LOW, MAX_MIB - 16)?;
    ctx.wait("the slice's limit pushes out the critical unit", || {
        low.tell("write")?;
        let alarms = agent.entries(Message::AlarmRaised, CRITICAL)?;
        Ok((!alarms.is_empty()).then_some(()))
    })?;
    agent.told(ctx, Message::AlarmRaised, CRITICAL, |alarm| {
        alarm.text().contains("of /shares.slice")
    })?;
    let cgroup = slice.cgroup()?;
    let used = || cgroup.number("memory.current").map(|bytes| bytes >> 20);
    ctx.wait("the low unit has given way", || {
        Ok((used()? <= MAX_MIB - 60).then_some(()))
    })
    .with_context(|| format!("{:?} of {MAX_MIB} MiB are in use: {:?}", used(), agent.said()))?;
    let gave = low.unit.cgroup()?.number("memory.swap.current")? >> 20;

    let own = critical.unit.cgroup()?;
    let taken = |deadline| memory_stat::settled(&own, "pgsteal", deadline);
    let before = taken(ctx.deadline())?;
    critical.tell("verify")?;
    let after = taken(ctx.deadline())?;
    ensure!(
        before.is_some() && before == after,
        "read back, it was reclaimed again: {before:?} pages before, {after:?} after"
    );
    let kills = oom_kills(&cgroup)?;
    ensure!(kills == 0, "{kills} processes were killed");
    require_asked_first(&agent.said()?)?;
    agent.stop()?;
    ctx.require_limit(&critical.unit, &SwapLimit::untouched())?;
    Outcome::passed(format!(
        "{gave} MiB of the low unit are in swap, all of the critical one fits"
    ))
}

/// With `zero` the same units are killed, and the agent says beforehand that this may happen.
fn zero(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let all = limited(ctx)?;
    let agent = ctx.agent(&Setup {
        critical: &["limited.service", "capped.service"],
        reaction: "zero",
        ..Setup::default()
    })?;
    let mut counted = Vec::new();
    for limited in &all {
        let unit = &limited.unit.unit;
        let started = unit.start();
        let kills = oom_kills(&limited.slice.cgroup()?)?;
        ctx.measure(&format!("oom_kills zero {}", limited.binding), kills)?;
        ensure!(
            started.is_err() && kills > 0,
            "{} lives on with a limit of half its size and no swap: {:?}",
            unit.name(),
            unit.property("Result")?
        );
        let changed = agent.told(ctx, Message::LimitChanged, unit.name(), |_| true)?;
        changed.require(&[("MEMMON_NEW", "0")])?;
        let reason = changed.field("MEMMON_REASON").unwrap_or_default();
        ensure!(reason.contains("OOM"), "the price is not named: {reason}");
        counted.push(kills);
    }
    agent.stop()?;
    for limited in &all {
        ensure!(leases_of(&limited.unit.unit)?.is_empty(), "a lease is left");
        let directory = format!("/run/systemd/system.control/{}.d", limited.unit.unit.name());
        ensure!(!Path::new(&directory).exists(), "{directory} is left");
    }
    Outcome::passed(format!("{counted:?} processes killed, as expected"))
}

/// The limit was safe when it was set; then the unit grows towards its own. Swap comes back before that kills it.
fn growth(ctx: &mut Ctx) -> Result<Outcome> {
    // `auto` asks for 64 MiB of headroom; below half of it the limit goes.
    const MAX_MIB: u64 = 112;
    const STEP_MIB: u64 = 8;
    ctx.swap_on_zram(256)?;
    let slice = ctx.unit_file("grows.slice", "[Slice]\n")?;
    slice.start()?;
    let hold = Hold {
        service: &format!("Slice=grows.slice\nMemoryMax={MAX_MIB}M"),
        ..Hold::mib(STEP_MIB)
    };
    let workload = ctx.workload("grows.service", &hold)?;
    let unit = &workload.unit;
    let agent = ctx.agent(&Setup {
        critical: &["grows.service"],
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    })?;
    let cgroup = unit.cgroup()?;
    push_out(&cgroup)?;
    ctx.wait_tightened(unit)?;
    let mut given_back = None;
    // Each child has its own copy of the pages: far beyond what fits without swap.
    for grown in 1..=MAX_MIB * 3 / 2 / STEP_MIB {
        workload.tell(&format!("fork {}", hold.pages()))?;
        let used = cgroup.number("memory.current")? >> 20;
        if given_back.is_none() && MAX_MIB - used.min(MAX_MIB) < 30 {
            ctx.wait_limit(unit, &SwapLimit::untouched())?;
            given_back = Some(grown * STEP_MIB);
            ctx.say(&format!("swap is back with {used} of {MAX_MIB} MiB in use"))?;
        }
    }
    let given_back = given_back.context("the unit never came near its limit")?;
    let swapped = cgroup.number("memory.swap.current")?;
    let kills = oom_kills(&slice.cgroup()?)?;
    ensure!(kills == 0, "{kills} processes were killed");
    ensure!(
        swapped > 0,
        "more than the limit is in use, and nothing is in swap"
    );
    agent.stop()?;
    ctx.require_limit(unit, &SwapLimit::untouched())?;
    Outcome::passed(format!(
        "swap was given back after {given_back} MiB more, {} MiB are in it, nobody was killed",
        swapped >> 20
    ))
}

/// At its own MemoryHigh a unit would come to a standstill without swap: instead that limit is raised, on a
/// lease, and goes back with the agent although the unit uses more.
fn memory_high(ctx: &mut Ctx) -> Result<Outcome> {
    const HIGH: &str = "16777216";
    ctx.swap_on_zram(256)?;
    let hold = Hold {
        service: "MemoryHigh=16M",
        ..Hold::mib(24)
    };
    let workload = ctx.workload_file("high.service", &hold)?;
    let unit = &workload.unit;
    let agent = ctx.agent(&Setup {
        critical: &["high.service"],
        ..Setup::default()
    })?;
    unit.start()?;
    let changed = agent.told(ctx, Message::LimitChanged, unit.name(), |_| true)?;
    changed.require(&[("MEMMON_PROPERTY", "MemoryHigh"), ("MEMMON_OLD", HIGH)])?;
    let raised = changed.number("MEMMON_NEW")?;
    ensure!(
        raised > hold.mib << 20,
        "raised to {raised}, which is not enough for the unit"
    );
    ctx.wait("systemd has the raised MemoryHigh as well", || {
        Ok((unit.property("MemoryHigh")? == raised.to_string()).then_some(()))
    })?;
    let cgroup = unit.cgroup()?;
    let (high, swap) = (cgroup.number("memory.high")?, cgroup.read("memory.swap.max")?);
    ensure!(
        high == raised && swap == "max",
        "memory.high is {high}, memory.swap.max {swap}"
    );
    // All of it in memory, so that the unit uses more than the limit that comes back.
    workload.tell("write")?;
    agent.stop()?;
    let high = cgroup.read("memory.high")?;
    ensure!(high == HIGH, "memory.high is {high} after the agent has stopped");
    let drop_in = format!("/run/systemd/system.control/{}.d/50-MemoryHigh.conf", unit.name());
    ensure!(!Path::new(&drop_in).exists(), "{drop_in} is left");
    ensure!(leases()?.is_empty(), "leases are left: {:?}", leases()?);
    // systemd would have had to reclaim: it follows when it reads its configuration anyway.
    daemon_reload()?;
    let property = unit.property("MemoryHigh")?;
    ensure!(property == HIGH, "MemoryHigh is {property} after a daemon-reload");
    Outcome::passed(format!("{HIGH} -> {raised} -> {HIGH}"))
}
