//! The other reactions, and changing between them while the agent runs.

use anyhow::{Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, Cursor, Setup, SwapLimit, leases, push_out},
    units::Unit,
    workload::{Hold, Workload},
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "modes.reload",
        run: reload,
        seconds: 150,
    },
    Case {
        name: "modes.systemd-only",
        run: systemd_only,
        seconds: 90,
    },
    Case {
        name: "modes.dry-run",
        run: dry_run,
        seconds: 90,
    },
];

/// alarm-only; then broken configurations, which change nothing; then freeze.
fn reload(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    // Anonymous memory first, so that a part of a unit can be pushed out.
    ctx.set("/proc/sys/vm/swappiness", "200")?;
    let setup = Setup {
        critical: &["mode*"],
        reaction: "alarm-only",
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    };
    let units = ["mode-a.service", "mode-b.service", "mode-c.service"];
    let mut workloads = Vec::new();
    for name in units {
        workloads.push(ctx.workload(name, &Hold::mib(8))?);
    }
    let agent = ctx.agent(&setup)?;
    let pid = agent.unit.main_pid()?;
    only_alarms(ctx, &agent, &workloads[0].unit)?;

    ctx.agent_config("[reaction]\non_critical_swap = \"frieze\"\n")?;
    let refused = agent.reload();
    ensure!(refused.is_err(), "systemctl reload takes a broken configuration");
    let since = Cursor::now()?;
    agent.unit.kill("HUP")?;
    ctx.wait("the agent refuses a broken configuration", || {
        let entries = since.entries(&["_SYSTEMD_UNIT=memmon.service"])?;
        let place = |text: &str| text.contains("kept") && text.contains("memmon.toml:2:");
        Ok(entries.iter().any(|entry| place(entry.text())).then_some(()))
    })?;
    only_alarms(ctx, &agent, &workloads[1].unit)?;
    // Well above what the kernel keeps back: freed swap is uncharged in batches of 64 pages per CPU.
    let cgroup = workloads[2].unit.cgroup()?;
    cgroup.reclaim(4 << 20)?;
    let in_swap = cgroup.number("memory.swap.current")?;
    ensure!(in_swap > 2 << 20, "only {in_swap} bytes to freeze");

    ctx.agent_config(
        &Setup {
            reaction: "freeze",
            ..setup
        }
        .config(),
    )?;
    agent.reload()?;
    ensure!(
        agent.unit.main_pid()? == pid && agent.unit.property("ActiveState")? == "active",
        "the agent did not survive its reloads"
    );
    let (first, last) = frozen(ctx, &agent, &workloads[2], in_swap)?;
    agent.stop()?;
    ctx.require_limit(&workloads[2].unit, &SwapLimit::untouched())?;
    Outcome::passed(format!("alarm-only, kept, freeze at {first}, then {last} bytes"))
}

fn only_alarms(ctx: &Ctx, agent: &Agent, unit: &Unit) -> Result<()> {
    push_out(&unit.cgroup()?)?;
    agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    ctx.require_limit(unit, &SwapLimit::untouched())?;
    let changes = agent.entries(Message::LimitChanged, unit.name())?;
    ensure!(changes.is_empty(), "changed nevertheless: {}", changes[0].text());
    Ok(())
}

/// memory.swap.max becomes what is in swap, and follows it down, never up.
fn frozen(ctx: &Ctx, agent: &Agent, workload: &Workload, in_swap: u64) -> Result<(u64, u64)> {
    let unit = &workload.unit;
    let cgroup = unit.cgroup()?;
    push_out(&cgroup)?;
    let changed = agent.told(ctx, Message::LimitChanged, unit.name(), |_| true)?;
    let first = changed.number("MEMMON_NEW")?;
    ensure!(
        first >= in_swap,
        "frozen at {first} although {in_swap} bytes were in swap"
    );
    let limit = cgroup.number("memory.swap.max")?;
    ensure!(
        limit <= first,
        "memory.swap.max is {limit}, above the {first} first told"
    );
    // Those that were on their way when the limit was set are in as well.
    let before = cgroup.number("memory.swap.current")?;
    push_out(&cgroup)?;
    let after = cgroup.number("memory.swap.current")?;
    ensure!(
        after <= before,
        "frozen, but {before} bytes in swap became {after}"
    );
    // Written again, the pages are in memory only.
    workload.tell("write")?;
    let last = ctx.wait("the limit follows what is in swap", || {
        let limit = cgroup.number("memory.swap.max")?;
        ensure!(limit <= first, "freeze raised the limit to {limit}");
        let in_swap = cgroup.number("memory.swap.current")?;
        Ok((limit < first && limit <= in_swap).then_some(limit))
    })?;
    Ok((first, last))
}

/// For those who want systemd alone to write cgroup files: later, but the same.
fn systemd_only(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let unit = ctx.workload("purist.service", &Hold::mib(8))?.unit;
    let setup = Setup {
        critical: &["purist.service"],
        ..Setup::default()
    };
    let agent = ctx.agent_installed(&setup)?;
    let config = setup
        .config()
        .replace("[units]", "write_path = \"systemd-only\"\n[units]");
    ctx.agent_config(&config)?;
    agent.unit.start()?;
    push_out(&unit.cgroup()?)?;
    let changed = agent.told(ctx, Message::LimitChanged, unit.name(), |_| true)?;
    changed.require(&[
        ("MEMMON_PROPERTY", "MemorySwapMax"),
        ("MEMMON_OLD", "infinity"),
        ("MEMMON_NEW", "0"),
    ])?;
    ctx.wait_tightened(&unit)?;
    agent.stop()?;
    ctx.require_limit(&unit, &SwapLimit::untouched())?;
    Outcome::passed(changed.text())
}

/// A dry run tells what it would do and does none of it.
fn dry_run(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let unit = ctx.workload("dry.service", &Hold::mib(8))?.unit;
    let agent = ctx.agent(&Setup {
        critical: &["dry.service"],
        service: "ExecStart=\nExecStart=/usr/bin/memmon run --dry-run",
        ..Setup::default()
    })?;
    push_out(&unit.cgroup()?)?;
    agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    let would = agent.told(ctx, Message::LimitChanged, unit.name(), |_| true)?;
    ensure!(
        would.text().contains("dry run"),
        "told as if it had been done: {}",
        would.text()
    );
    would.require(&[("MEMMON_PROPERTY", "MemorySwapMax"), ("MEMMON_NEW", "0")])?;
    ctx.require_limit(&unit, &SwapLimit::untouched())?;
    ensure!(leases()?.is_empty(), "a dry run left leases: {:?}", leases()?);
    agent.stop()?;
    ctx.require_limit(&unit, &SwapLimit::untouched())?;
    Outcome::passed(would.text())
}
