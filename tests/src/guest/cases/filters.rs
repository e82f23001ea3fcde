//! `memmon trace` shows what it was asked for, and counts everything.

use anyhow::{Result, ensure};

use crate::guest::{Case, Ctx, Outcome, workload::Hold};

/// This topic's cases.
pub const CASES: &[Case] = &[Case {
    name: "attribution.filters",
    run: filters,
    seconds: 120,
}];

const CONFIG: &str = "[units]\n\"attr-crit@*\" = \"critical\"\n\"attr-wanted-two.service\" = \"high\"\n";

/// Two traces at once, of the same swap-outs: one for a pattern, one for critical units.
fn filters(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(64)?;
    let config = "/run/memmon-test/filters.toml";
    ctx.write_file(config, CONFIG)?;
    let hold = Hold::mib(4);
    let template = ctx.workload_file("attr-crit@.service", &hold)?;
    let critical = ctx.instance(&template.unit, "9")?;
    critical.start()?;
    let first = ctx.workload("attr-wanted-one.service", &hold)?.unit;
    let by_pattern = ctx.trace_only(&["--unit", "attr-w?nted-*"])?;
    ensure!(
        by_pattern.notes().len() == 1,
        "the unit is there, but the trace said {:?}",
        by_pattern.notes()
    );
    let by_priority = ctx.trace(&["--critical", "--config", config])?;
    // It is shown although the traces began before it did.
    let second = ctx.workload("attr-wanted-two.service", &hold)?.unit;
    let mut swapped = Vec::new();
    for unit in [&critical, &first, &second] {
        let cgroup = unit.cgroup()?;
        cgroup.reclaim(hold.mib << 20)?;
        swapped.push(cgroup.number("memory.swap.current")? / 4096);
    }
    let by_pattern = by_pattern.finish(ctx)?;
    let by_priority = by_priority.finish(ctx)?;
    ensure!(
        by_pattern
            .lines
            .iter()
            .all(|line| line.unit.starts_with("attr-wanted-")),
        "lines of others: {:?}",
        by_pattern.blame()
    );
    ensure!(
        by_priority
            .lines
            .iter()
            .all(|line| line.unit == critical.name() && line.priority == "critical"),
        "lines of others: {:?}",
        by_priority.blame()
    );
    let shown = [
        by_priority.only_kind(critical.name(), "proactive")?,
        by_pattern.only_kind(first.name(), "proactive")?,
        by_pattern.only_kind(second.name(), "proactive")?,
    ];
    ensure!(swapped == shown, "{shown:?} pages shown, {swapped:?} in swap");
    let all: u64 = swapped.iter().sum();
    for stream in [&by_pattern, &by_priority] {
        let counted = stream.end()?.pages;
        ensure!(
            counted >= all && counted > stream.end()?.shown_pages,
            "{counted} pages counted, but {all} went out of these units"
        );
    }
    Outcome::passed(format!(
        "{} pages shown by pattern, {} as critical, of {} and {} counted",
        shown[1] + shown[2],
        shown[0],
        by_pattern.end()?.pages,
        by_priority.end()?.pages
    ))
}
