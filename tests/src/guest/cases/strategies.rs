//! The judgement: a rising load ends with the low unit reclaimed, the critical one spared, and everything back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memmon::decode::MemInfo;
use serde_json::Value;

use crate::{
    guest::{
        Case, Ctx, Outcome,
        agent::{Agent, Setup, SwapLimit, leases},
        documents::document,
        shell,
        undo::Undo,
        units::Unit,
        workload::{Hold, Workload},
    },
    workload::Fill,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "strategies.rising-load",
        run: rising_load,
        seconds: 300,
    },
    Case {
        name: "strategies.observes-only",
        run: observes_only,
        seconds: 180,
    },
];

const HISTORY: &str = "/var/lib/memmon";
const CRITICAL_MIB: u64 = 64;

/// The units of the scenario, without the load.
struct Company {
    critical: Workload,
    high: Workload,
    medium: Workload,
    low: Workload,
    agent: Agent,
}

/// A configuration whose critical situation begins so much above what is used now.
fn config(above: f64, strategies: &str) -> Result<String> {
    let text = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let used = MemInfo::parse(&text).context("parsing /proc/meminfo")?.ram_used();
    let (high, critical) = (used + above / 2.0, used + above);
    Ok(format!(
        "[units]\n\"s-critical.service\" = \"critical\"\n\"s-high.service\" = \"high\"\n\
         \"s-medium.service\" = \"medium\"\n\"s-low.service\" = \"low\"\n\"s-load.service\" = \"low\"\n\
         [thresholds]\nram_high = {high:.3}\nram_critical = {critical:.3}\nhysteresis = 0.02\ndwell = \"2s\"\n\
         [reaction]\nhold = \"3s\"\n[strategies]\ngrace = \"2s\"\ncool_down = \"3s\"\n{strategies}\n\
         [history]\ninterval = \"1s\"\n"
    ))
}

fn company(ctx: &Ctx, strategies: &str) -> Result<Company> {
    ctx.swap_on_disk()?;
    let hold = |mib| Hold {
        fill: Fill::Random,
        ..Hold::mib(mib)
    };
    let critical = ctx.workload("s-critical.service", &hold(CRITICAL_MIB))?;
    let high = ctx.workload("s-high.service", &hold(24))?;
    let medium = ctx.workload("s-medium.service", &hold(24))?;
    let low = ctx.workload("s-low.service", &hold(128))?;
    let agent = ctx.agent_installed(&Setup {
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    })?;
    ctx.undo().note(&Undo::Remove(HISTORY.into()))?;
    ctx.agent_config(&config(0.10, strategies)?)?;
    agent.unit.start()?;
    Ok(Company {
        critical,
        high,
        medium,
        low,
        agent,
    })
}

fn swapped(unit: &Unit) -> Result<u64> {
    unit.cgroup()?.number("memory.swap.current")
}

fn report(args: &[&str]) -> Result<Value> {
    let text = shell::run("memmon", args)?;
    serde_json::from_str(&text).with_context(|| format!("memmon {args:?}: {text}"))
}

/// Twelve hundredths of RAM more: critical.
fn load(ctx: &Ctx) -> Result<Workload> {
    ctx.workload("s-load.service", &Hold::mib(128))
}

fn rising_load(ctx: &mut Ctx) -> Result<Outcome> {
    let company = company(ctx, "")?;
    let slice = Unit::named("system.slice");
    let low_before = slice.cgroup()?.read("memory.low")?;
    ctx.say("the company is up, the situation normal")?;
    let load = load(ctx)?;
    ctx.wait("the low units are reclaimed", || {
        let taken = swapped(&company.low.unit)? + swapped(&load.unit)?;
        Ok((taken > 8 << 20).then_some(()))
    })?;
    ctx.wait("the critical unit is spared", || {
        let low: u64 = company.critical.unit.cgroup()?.number("memory.low")?;
        Ok((low >= CRITICAL_MIB / 2 * (1 << 20)).then_some(()))
    })?;
    let granted = slice.cgroup()?.number("memory.low")?;
    let needed = company.critical.unit.cgroup()?.number("memory.low")?;
    ensure!(
        granted >= needed,
        "the slice is granted {granted}, its critical unit {needed}"
    );
    let journal = company.agent.unit.journal()?;
    ensure!(
        journal.contains("is asked first"),
        "nobody was asked first: {journal}"
    );
    let asked = journal
        .find("release_request")
        .context("no request in the journal")?;
    let taken = journal
        .find("page_out")
        .or_else(|| journal.find("reclaim_cache"))
        .context("no reclaim in the journal")?;
    ensure!(asked < taken, "taken before it was asked for: {journal}");
    for (name, unit) in [
        ("critical", &company.critical.unit),
        ("high", &company.high.unit),
        ("medium", &company.medium.unit),
    ] {
        ctx.measure(&format!("swapped KiB of {name}"), swapped(unit)? >> 10)?;
    }
    ensure!(
        swapped(&company.critical.unit)? == 0,
        "pages of the critical unit went to swap: {journal}"
    );
    let document = document("memmon.report/1", &shell::run("memmon", &["report", "--json"])?)?;
    ensure!(
        document["strategies"]
            .as_array()
            .is_some_and(|rows| !rows.is_empty()),
        "no strategies in the report: {document}"
    );
    ctx.say("low units were asked, then reclaimed; the critical one is spared")?;

    load.unit.stop()?;
    company.low.unit.stop()?;
    let mut seen = String::new();
    ctx.wait_for(Duration::from_secs(60), "every limit is back", || {
        let critical = company.critical.unit.cgroup()?.read("memory.low")?;
        let slice = slice.cgroup()?.read("memory.low")?;
        let leases = leases()?;
        seen = format!("memory.low {critical}, of the slice {slice} (was {low_before}), leases {leases:?}");
        Ok((leases.is_empty() && critical == "0" && slice == low_before).then_some(()))
    })
    .with_context(|| seen)?;
    ctx.require_limit(&company.critical.unit, &SwapLimit::untouched())?;
    let history = report(&["history", "--json", "--since", "1h"])?;
    let of_kind = |kind: &str| {
        let events = history["events"].as_array().into_iter().flatten();
        events.filter(|event| event["kind"] == kind).count()
    };
    let (decisions, outcomes) = (of_kind("decision"), of_kind("outcome"));
    ensure!(decisions > 0 && outcomes > 0, "not in the history: {history}");
    shell::run(
        "memmon",
        &[
            "record",
            "--from-history",
            "1h",
            "/run/memmon-test/recording.jsonl",
        ],
    )?;
    let simulated = shell::run("memmon", &["simulate", "/run/memmon-test/recording.jsonl"])?;
    ensure!(simulated.contains("moments differ"), "{simulated}");
    company.agent.stop()?;
    Outcome::passed(format!(
        "{decisions} decisions and {outcomes} outcomes stored; {}",
        simulated.lines().last().unwrap_or_default()
    ))
}

/// `act = false`: the report says what would be done, and nothing is.
fn observes_only(ctx: &mut Ctx) -> Result<Outcome> {
    let company = company(ctx, "act = false")?;
    let load = load(ctx)?;
    let rows = ctx.wait("the report proposes to take from low units", || {
        let document = document("memmon.report/1", &shell::run("memmon", &["report", "--json"])?)?;
        let rows = document["strategies"].as_array().cloned().unwrap_or_default();
        let proposed = rows
            .iter()
            .any(|row| row["action"] == "release_request" && row["applied"] == false);
        Ok(proposed.then_some(rows))
    })?;
    ensure!(leases()?.is_empty(), "a limit was changed: {:?}", leases()?);
    let low = company.critical.unit.cgroup()?.read("memory.low")?;
    ensure!(low == "0", "memory.low of the critical unit is {low}");
    load.unit.stop()?;
    company.agent.stop()?;
    Outcome::passed(format!("{} strategies proposed, none carried out", rows.len()))
}
