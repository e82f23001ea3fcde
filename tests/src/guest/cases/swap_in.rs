//! What comes back from swap, by owner, against the kernel's own counters.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::guest::{
    Case, Ctx, Outcome, agent::Setup, http, memory_stat, vmstat::Vmstat, wait, workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[Case {
    name: "attribution.swap-in",
    run: swap_in,
    seconds: 150,
}];

/// Where the shipped configuration serves metrics.
const PORT: u16 = 9757;
const METRIC: &str = "memmon_swapin_pages_total{unit=\"";
/// An answer may be this old, and the kernel adds its CPUs' shares in its own time.
const QUIET: Duration = Duration::from_secs(2);
/// Every way in which a page can come back, as kernels name them; an older one lacks the later ones.
const WAYS: [&str; 3] = ["pswpin", "zswpin", "swpin_zero"];

/// What the agent has counted, by unit.
fn counted() -> Result<Vec<(String, u64)>> {
    let (status, page) = http::get(PORT, "/metrics")?.context("the agent serves no metrics")?;
    ensure!(status == 200, "/metrics: {status}: {page}");
    let lines = page.lines().filter_map(|line| line.strip_prefix(METRIC));
    lines
        .map(|line| {
            let (unit, value) = line.split_once("\"} ").with_context(|| line.to_owned())?;
            Ok((unit.to_owned(), value.parse().with_context(|| line.to_owned())?))
        })
        .collect()
}

fn of(counted: &[(String, u64)], unit: &str) -> u64 {
    let same = counted.iter().filter(|(name, _)| name == unit);
    same.map(|(_, pages)| pages).sum()
}

/// Two units go out and come back by their own touch; their pages are told apart, and the sum is the kernel's.
fn swap_in(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(64)?;
    let hold = Hold::mib(8);
    let names = ["back-one.service", "back-two.service"];
    let workloads = [ctx.workload(names[0], &hold)?, ctx.workload(names[1], &hold)?];
    let agent = ctx.agent(&Setup::default())?;
    for workload in &workloads {
        workload.unit.cgroup()?.reclaim(hold.mib << 20)?;
    }
    // Something may be on its way back already: both sides are read at rest.
    let sum = |pages: &[(String, u64)]| pages.iter().map(|(_, pages)| pages).sum::<u64>();
    // Something may be on its way back already: both sides are read at rest.
    let rest = || {
        wait::until_still(ctx.deadline(), QUIET, "swap-ins", || {
            let kernel = Vmstat::read()?;
            Ok((counted()?, WAYS.map(|way| kernel.get(way))))
        })
    };
    let (before, kernel_before) = rest()?;
    let out: Vec<u64> = workloads
        .iter()
        .map(|workload| Ok(workload.unit.cgroup()?.number("memory.swap.current")? >> 12))
        .collect::<Result<_>>()?;
    for workload in &workloads {
        workload.tell("touch")?;
    }
    let (after, kernel_after) = rest()?;
    let kernel: u64 = kernel_after
        .iter()
        .zip(&kernel_before)
        .map(|(after, before)| after.unwrap_or(0) - before.unwrap_or(0))
        .sum();
    let all = sum(&after) - sum(&before);
    ensure!(
        all == kernel,
        "{all} pages came back by the agent's count, {kernel} by the kernel's: {before:?}, {after:?}"
    );
    let mut came = Vec::new();
    for ((name, out), workload) in names.iter().zip(out).zip(&workloads) {
        let pages = of(&after, name) - of(&before, name);
        ensure!(
            out >= hold.pages() / 2 && pages >= hold.pages() / 2,
            "{pages} pages of {name} came back, {out} were out"
        );
        let cgroup = workload.unit.cgroup()?;
        if memory_stat::get(&cgroup, "pswpin")?.is_some() {
            let mut of_kernel = 0;
            for way in WAYS {
                of_kernel += memory_stat::settled(&cgroup, way, ctx.deadline())?.unwrap_or(0);
            }
            let total = of(&after, name);
            ensure!(
                total == of_kernel,
                "{total} pages of {name} by the agent's count, {of_kernel} in its memory.stat"
            );
        }
        came.push(pages);
    }
    agent.stop()?;
    Outcome::passed(format!(
        "{came:?} of {all} pages came back, as the kernel counts them"
    ))
}
