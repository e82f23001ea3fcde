//! How long it takes from a page to the limit, many times over. A measurement: it is no part of `cargo xtask test`.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Setup, push_out},
    shell,
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[Case {
    name: "reaction.many-units",
    run: many_units,
    seconds: 300,
}];

/// How many units.
const UNITS: usize = 40;
const PAGE: u64 = 4096;

/// A root shell pushes out one critical unit after the other: for each its first page, the limit, and what went out
/// in between.
fn many_units(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let mut units = Vec::new();
    for number in 0..UNITS {
        let name = format!("reaction-{number}.service");
        units.push(ctx.workload_file(&name, &Hold::mib(4))?.unit);
    }
    let names: Vec<&str> = units.iter().map(|unit| unit.name()).collect();
    shell::run("systemctl", &[&["start"][..], &names].concat())?;
    let agent = ctx.agent(&Setup {
        critical: &["reaction-*"],
        ..Setup::default()
    })?;
    let mut further = Vec::new();
    for unit in &units {
        let cgroup = unit.cgroup()?;
        push_out(&cgroup)?;
        ctx.wait_tightened(unit)?;
        further.push((cgroup.number("memory.swap.current")? / PAGE).saturating_sub(1));
    }
    let times = agent.reactions_us()?;
    ensure!(
        times.len() == UNITS,
        "{} reactions to {UNITS} units' pages",
        times.len()
    );
    agent.stop()?;
    let (times, further) = (spread(times), spread(further));
    ctx.measure("reaction_us many units", times.clone())?;
    ctx.measure("further_pages many units", further.clone())?;
    Outcome::passed(format!("microseconds {times}, further pages {further}"))
}

/// Least, quartiles and most.
fn spread(mut values: Vec<u64>) -> serde_json::Value {
    values.sort_unstable();
    let at = |quarter: usize| values.get(values.len().saturating_sub(1) * quarter / 4);
    json!({
        "count": values.len(),
        "least": at(0),
        "quartiles": [at(1), at(2), at(3)],
        "most": at(4),
    })
}
