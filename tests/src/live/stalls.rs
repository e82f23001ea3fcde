//! Stall histograms against the number of times reclaim began and ended.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use memmon::source::probes::{Options, Probes};
use memmon_common::event::stall_kind;

use super::context::Context;
use crate::{
    case::{Case, Outcome},
    host::wait,
    live::worker::PAGE,
    pass, skip,
};

pub(super) const CASES: &[Case<Context>] = &[Case {
    name: "stalls-limit-reclaim",
    run: limit_reclaim,
}];

/// How often a program ran.
fn runs(probes: &Probes, name: &str) -> Result<u64> {
    let stats = probes.stats();
    let program = stats.iter().find(|program| program.name == name);
    Ok(program.with_context(|| format!("no program {name}"))?.run_count)
}

fn limit_reclaim(context: &mut Context) -> Result<Outcome> {
    const PAGES: u64 = 8192;
    let _counting = enable_stats(Stats::RunTime)?;
    let (probes, _rings) = context.probes(Options::default())?;
    if !probes.has("memcg_reclaim_begin") || !probes.has("memcg_reclaim_end") {
        skip!("this kernel has no tracepoints around memory-cgroup reclaim");
    }
    let cgroup = context.cgroup("limit")?;
    cgroup.limit(PAGES * PAGE / 2)?;
    let mut workload = context.workload(&cgroup)?;
    let region = workload.map("anon", PAGES)?;
    let start = Instant::now();
    workload.on("churn", region, "2")?;
    // Whoever else is inside reclaim at this moment leaves it.
    let (begins, ends) = wait::until("reclaim pauses", || {
        let (begins, ends) = (runs(&probes, "memcg_begin")?, runs(&probes, "memcg_end")?);
        Ok((begins == ends).then_some((begins, ends)))
    })?;
    let elapsed = start.elapsed();
    ensure!(begins > 0, "memory-cgroup reclaim never began");
    let (mut all, mut ours, mut sum_ns) = (0, 0, 0);
    for (key, histogram) in probes.stalls()? {
        if key.kind != u64::from(stall_kind::MEMCG) {
            continue;
        }
        let count: u64 = histogram.buckets.iter().sum();
        all += count;
        if key.cgroup == cgroup.id {
            ours += count;
            sum_ns += histogram.sum_ns;
            // Bucket i holds stalls below 2^i microseconds: the sum lies between the buckets' bounds.
            let bounds = histogram
                .buckets
                .iter()
                .enumerate()
                .fold((0, 0), |(low, high), (i, n)| {
                    let floor = if i == 0 { 0 } else { 1u64 << (i - 1) };
                    (low + n * floor * 1000, high + n * (1u64 << i) * 1000)
                });
            ensure!(
                bounds.0 <= sum_ns && (sum_ns <= bounds.1 || histogram.buckets.last() != Some(&0)),
                "a sum of {sum_ns} ns does not fit the buckets {:?}",
                histogram.buckets
            );
        }
    }
    ensure!(
        all == ends,
        "{all} stalls in the histograms, but reclaim ended {ends} times"
    );
    ensure!(ours > 0, "no stall of the cgroup that was reclaimed from");
    let overflow = probes.totals()?.stall_overflow;
    ensure!(overflow == 0, "{overflow} stalls found no room");
    ensure!(
        u128::from(sum_ns) <= elapsed.as_nanos(),
        "one thread stalled {sum_ns} ns within {elapsed:?}"
    );
    pass!(
        "{ours} stalls of {all}, {} µs of {} µs; {begins} begins, {ends} ends",
        sum_ns / 1000,
        elapsed.as_micros()
    )
}
