//! How long the agent takes for `/metrics` when it knows many units.

use std::{net::TcpListener, time::Instant};

use anyhow::{Context as _, Result, ensure};

use super::{agent::Agent, float, median, report::Table};
use crate::{guest::http, host::wait, live::context::Context};

const UNITS: usize = 500;
/// Requests in one round.
const REQUESTS: usize = 20;

pub(super) fn measure(context: &Context, rounds: usize) -> Result<Table> {
    let mut table = Table::new(
        "The metrics page",
        &["units", "KiB", "median ms", "most ms"],
        &format!(
            "`/metrics` of `memmon run --dry-run` on loopback, one connection per request, {rounds} rounds of {REQUESTS}; \
             every unit has a priority and is shown. What is aimed at: 500 units in 10 ms."
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
    let page = wait::until("every unit is on the page", || {
        let (status, page) = http::get(port, "/metrics")?.context("nobody serves metrics")?;
        ensure!(status == 200, "answered {status}");
        Ok((shown(&page) >= UNITS).then_some(page))
    })?;
    let mut took = Vec::new();
    for _ in 0..rounds * REQUESTS {
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

/// How many of the units the page has the memory of.
fn shown(page: &str) -> usize {
    let ours =
        |line: &&str| line.starts_with("memmon_unit_memory_bytes{") && line.contains("metrics.service");
    page.lines().filter(ours).count()
}
