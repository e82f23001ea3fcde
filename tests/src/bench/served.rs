//! How long the agent takes for `/metrics` when it knows many units.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{agent::Agent, float, median, report::Table};
use crate::{
    guest::http,
    host::{interrupt, wait},
    live::context::Context,
};

const UNITS: usize = 500;
/// Requests in one round.
const REQUESTS: usize = 20;

pub(super) fn measure(context: &Context, rounds: usize) -> Result<Table> {
    let mut table = Table::new(
        "The metrics page",
        &["units", "KiB", "median ms", "most ms"],
        &format!(
            "`/metrics` of `memmon run --dry-run` on loopback, one connection per request, {rounds} rounds of {REQUESTS}, \
             each page made anew; \
             every unit has a priority and has lost pages. On a host with cgroup v1 the page lacks what the units use, \
             though the agent looks for it. What is aimed at: 500 units in 10 ms."
        ),
    );
    let cgroups: Vec<_> = (0..UNITS)
        .map(|_| context.cgroup("metrics.service"))
        .collect::<Result<_>>()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let configuration = format!(
        "listen = \"127.0.0.1:{port}\"\n[history]\nenabled = false\n\
         [units]\n\"memmon-live-*-metrics.service\" = \"medium\"\n"
    );
    let _agent = match Agent::start(context, &configuration)? {
        Ok(agent) => agent,
        Err(reason) => {
            table.row([
                format!("not measured: {reason}"),
                "–".into(),
                "–".into(),
                "–".into(),
            ]);
            return Ok(table);
        }
    };
    // Each of them loses pages, so that it has a row among all counters. Those of its memory are for cgroup v2.
    let mut worker = context.workload(&cgroups[0])?;
    for cgroup in &cgroups {
        cgroup.add(worker.pid)?;
        worker.fill_and_page_out("anon", 2)?;
    }
    drop(worker);
    let page = wait::until("every unit is on the page", || {
        let (status, page) = http::get(port, "/metrics")?.context("nobody serves metrics")?;
        ensure!(status == 200, "answered {status}");
        Ok((shown(&page) >= UNITS).then_some(page))
    })?;
    let mut took = Vec::new();
    for _ in 0..rounds * REQUESTS {
        // The agent answers with the same page for 250 ms: each of these is made anew.
        interrupt::check()?;
        thread::sleep(Duration::from_millis(300));
        let begin = Instant::now();
        let (status, page) = http::get(port, "/metrics")?.context("nobody serves metrics")?;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        ensure!(status == 200 && shown(&page) >= UNITS, "not the whole page");
    }
    drop(cgroups);
    table.row([
        UNITS.to_string(),
        format!("{:.0}", float(page.len() as u64) / 1024.0),
        format!("{:.1}", median(&took).context("nothing was measured")?),
        format!("{:.1}", took.iter().copied().fold(0.0, f64::max)),
    ]);
    Ok(table)
}

/// How many of the units the page has swapped pages of.
fn shown(page: &str) -> usize {
    let ours =
        |line: &&str| line.starts_with("memmon_swapout_pages_total{") && line.contains("metrics.service");
    page.lines().filter(ours).count()
}
