//! The judgement: a rising load ends with the low unit reclaimed, the critical one spared, and everything back.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    compare,
    scenario::{self, Alive, CRITICAL_MIB, Company, SLICE, swapped, wait_all_back},
};
use crate::guest::{Case, Ctx, Outcome, agent::leases, documents::document, shell, units::Unit};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "strategies.rising-load",
        run: rising_load,
        seconds: 600,
    },
    Case {
        name: "strategies.observes-only",
        run: observes_only,
        seconds: 400,
    },
    Case {
        name: "strategies.compare-memmon",
        run: compare::with_memmon,
        seconds: 1200,
    },
    Case {
        name: "strategies.compare-nothing",
        run: compare::without,
        seconds: 1200,
    },
    Case {
        name: "strategies.compare-oomd",
        run: compare::with_oomd,
        seconds: 1200,
    },
];

fn report(args: &[&str]) -> Result<Value> {
    let text = shell::run("memmon", args)?;
    serde_json::from_str(&text).with_context(|| format!("memmon {args:?}: {text}"))
}

fn rising_load(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_disk()?;
    let company = Company::start(ctx)?;
    let agent = scenario::agent(ctx, "", "")?;
    let (before, alive) = (company.traces()?, Alive::now(&company)?);
    agent.unit.start()?;
    ctx.say("the company is up, the situation normal")?;
    let load = scenario::load(ctx)?;
    ctx.wait("the low units are reclaimed", || {
        let taken = swapped(&company.low.unit)? + swapped(&load.unit)?;
        Ok((taken > 8 << 20).then_some(()))
    })?;
    let critical = &company.critical.unit;
    ctx.wait("the critical unit is spared", || {
        let low: u64 = critical.cgroup()?.number("memory.low")?;
        Ok((low >= CRITICAL_MIB / 2 * (1 << 20)).then_some(()))
    })?;
    let granted = Unit::named(SLICE).cgroup()?.number("memory.low")?;
    let needed = critical.cgroup()?.number("memory.low")?;
    ensure!(
        granted >= needed,
        "the slice is granted {granted}, its critical unit {needed}"
    );
    let said = agent.said()?;
    require_asked_first(&said)?;
    ensure!(
        !said.iter().any(|text| text.contains("Invalid argument")),
        "the kernel refused something, as it did the trigger on memory pressure: {said:?}"
    );
    for (name, unit) in company.units() {
        ctx.measure(&format!("swapped KiB of {name}"), swapped(unit)? >> 10)?;
    }
    ensure!(
        swapped(critical)? == 0,
        "pages of the critical unit went to swap: {said:?}"
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
    wait_all_back(ctx, &company, &before)?;
    alive.require(&company)?;
    let stored = stored(ctx)?;
    agent.stop()?;
    Outcome::passed(stored)
}

/// Nobody is taken from before somebody was asked.
pub(super) fn require_asked_first(said: &[String]) -> Result<()> {
    let asked = said.iter().position(|text| text.contains("is asked first"));
    let asked = asked.with_context(|| format!("nobody was asked: {said:?}"))?;
    let taken = first_taken(said).with_context(|| format!("nothing was taken: {said:?}"))?;
    ensure!(asked < taken, "taken before it was asked for: {said:?}");
    Ok(())
}

/// The first sentence with which memory is taken.
pub(super) fn first_taken(said: &[String]) -> Option<usize> {
    let takes = |text: &String| {
        ["page_out: ", "reclaim_cache: ", "compress: "]
            .iter()
            .any(|word| text.starts_with(word))
    };
    said.iter().position(takes)
}

/// What the history has of it, and what a replay says.
fn stored(ctx: &Ctx) -> Result<String> {
    let of_kind = |history: &Value, kind: &str| {
        let events = history["events"].as_array().into_iter().flatten();
        events.filter(|event| event["kind"] == kind).count()
    };
    let (decisions, outcomes) = ctx.wait("decisions and outcomes are stored", || {
        let history = report(&["history", "--json", "--since", "1h"])?;
        let (decisions, outcomes) = (of_kind(&history, "decision"), of_kind(&history, "outcome"));
        Ok((decisions > 0 && outcomes > 0).then_some((decisions, outcomes)))
    })?;
    let recording = "/run/memmon-test/recording.jsonl";
    shell::run("memmon", &["record", "--from-history", "1h", recording])?;
    let simulated = shell::run("memmon", &["simulate", recording])?;
    ensure!(simulated.contains("moments differ"), "{simulated}");
    Ok(format!(
        "{decisions} decisions and {outcomes} outcomes stored; {}",
        simulated.lines().last().unwrap_or_default()
    ))
}

/// `act = false`: the report says what would be done, and nothing is, until `memmon report --apply` has it done.
fn observes_only(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_disk()?;
    let company = Company::start(ctx)?;
    let agent = scenario::agent(ctx, "act = false", "")?;
    let before = company.traces()?;
    agent.unit.start()?;
    let load = scenario::load(ctx)?;
    let rows = ctx.wait("the report proposes to take from low units", || {
        let document = document("memmon.report/1", &shell::run("memmon", &["report", "--json"])?)?;
        let rows = document["strategies"].as_array().cloned().unwrap_or_default();
        let proposed = rows
            .iter()
            .any(|row| row["action"] == "release_request" && row["applied"] == false);
        Ok(proposed.then_some(rows))
    })?;
    ensure!(leases()?.is_empty(), "a limit was changed: {:?}", leases()?);
    let now = company.traces()?;
    ensure!(now == before, "changed: {:?}", now.unlike(&before));
    let asked_for = |how: &str| -> Result<Vec<Value>> {
        let text = shell::run("memmon", &["report", how, "--json"])?;
        let document = document("memmon.report/1", &text)?;
        Ok(document["strategies"].as_array().cloned().unwrap_or_default())
    };
    let rehearsed = asked_for("--dry-run")?;
    ensure!(
        rehearsed.iter().all(|row| row["applied"] == false),
        "{rehearsed:?}"
    );
    ensure!(leases()?.is_empty(), "a dry run changed a limit");
    let applied = asked_for("--apply")?;
    let done = applied.iter().filter(|row| row["applied"] == true).count();
    ensure!(done > 0, "nothing was carried out: {applied:?}");
    ensure!(!leases()?.is_empty(), "carried out, and no lease: {applied:?}");
    load.unit.stop()?;
    wait_all_back(ctx, &company, &before)?;
    agent.stop()?;
    Outcome::passed(format!(
        "{} strategies proposed, none carried out; --apply carried out {done}, and all is back",
        rows.len()
    ))
}
