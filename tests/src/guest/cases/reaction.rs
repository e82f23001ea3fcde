//! How long it takes from a page to the limit, many times over. A measurement: it is no part of `cargo xtask test`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, Setup, push_out, wait_on_bus},
    shell,
    units::Unit,
    viewers::Viewers,
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "reaction.many-units",
        run: many_units,
        seconds: 300,
    },
    Case {
        name: "reaction.watched",
        run: watched,
        seconds: 600,
    },
];

/// How many units.
const UNITS: usize = 40;
const PAGE: u64 = 4096;
/// Units in one turn, with viewers or without.
const TURN: usize = 10;
/// Pages that are open in somebody's browser.
const PAGES: usize = 20;
const PORT: u16 = 9757;

/// A root shell pushes out one critical unit after the other: for each its first page, the limit, and what went out
/// in between.
fn many_units(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let units = units(ctx)?;
    let agent = ctx.agent(&SETUP)?;
    let mut further = Vec::new();
    for unit in &units {
        further.push(push(ctx, unit)?);
    }
    let times = reactions(&agent)?;
    agent.stop()?;
    let (times, further) = (spread(times), spread(further));
    ctx.measure("reaction_us many units", times.clone())?;
    ctx.measure("further_pages many units", further.clone())?;
    Outcome::passed(format!("microseconds {times}, further pages {further}"))
}

/// The same, in turns with nobody looking and with twenty pages open, a scrape per second and `memmon top`.
fn watched(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let units = units(ctx)?;
    let agent = ctx.agent_installed(&SETUP)?;
    ctx.agent_config(&format!("{}[http]\npage = true\n", SETUP.config()))?;
    agent.unit.start()?;
    wait_on_bus(ctx)?;
    for (turn, units) in units.chunks(TURN).enumerate() {
        let viewers = (turn % 2 == 1)
            .then(|| Viewers::begin(ctx, PORT, PAGES))
            .transpose()?;
        for unit in units {
            push(ctx, unit)?;
        }
        viewers.map(Viewers::end).transpose()?;
    }
    let times = reactions(&agent)?;
    let of = |parity: usize| -> serde_json::Value {
        let turns = times.chunks(TURN).skip(parity).step_by(2);
        spread(turns.flatten().copied().collect())
    };
    let status = fs::read_to_string(format!("/proc/{}/status", agent.unit.property("MainPID")?))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.context("VmRSS")?.trim().to_owned();
    agent.stop()?;
    ctx.measure("reaction_us unwatched", of(0))?;
    ctx.measure("reaction_us watched", of(1))?;
    ctx.measure("resident, everything on", resident.clone())?;
    Outcome::passed(format!(
        "microseconds unwatched {}, watched {}; {resident} resident",
        of(0),
        of(1)
    ))
}

const SETUP: Setup<'_> = Setup {
    critical: &["reaction-*"],
    reaction: "auto",
    hold: "10m",
    service: "",
};

/// Critical units, all of them up.
fn units(ctx: &Ctx) -> Result<Vec<Unit>> {
    let mut units = Vec::new();
    for number in 0..UNITS {
        let name = format!("reaction-{number}.service");
        units.push(ctx.workload_file(&name, &Hold::mib(4))?.unit);
    }
    let names: Vec<&str> = units.iter().map(Unit::name).collect();
    shell::run("systemctl", &[&["start"][..], &names].concat())?;
    Ok(units)
}

/// Pushes a unit out until it has its limit; how many pages went after the first.
fn push(ctx: &Ctx, unit: &Unit) -> Result<u64> {
    let cgroup = unit.cgroup()?;
    push_out(&cgroup)?;
    ctx.wait_tightened(unit)?;
    Ok((cgroup.number("memory.swap.current")? / PAGE).saturating_sub(1))
}

fn reactions(agent: &Agent) -> Result<Vec<u64>> {
    let times = agent.reactions_us()?;
    ensure!(
        times.len() == UNITS,
        "{} reactions to {UNITS} units' pages",
        times.len()
    );
    Ok(times)
}

/// Least, quartiles and most, and which of them that was: the first would have met something for the first time.
fn spread(mut values: Vec<u64>) -> serde_json::Value {
    let slowest = (1..=values.len()).max_by_key(|place| values.get(place - 1));
    values.sort_unstable();
    let at = |quarter: usize| values.get(values.len().saturating_sub(1) * quarter / 4);
    json!({
        "count": values.len(),
        "least": at(0),
        "quartiles": [at(1), at(2), at(3)],
        "most": at(4),
        "slowest": slowest,
    })
}
