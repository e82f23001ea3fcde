//! How long it takes from nothing to attached programs, and back.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{cost, median, report::Table};
use crate::live::context::Context;

pub(super) fn measure(context: &Context, rounds: usize) -> Result<Table> {
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(5) {
        let start = Instant::now();
        let probes = cost::agent_mode(context)?;
        opened.push(milliseconds(start.elapsed()));
        let start = Instant::now();
        drop(probes);
        closed.push(milliseconds(start.elapsed()));
    }
    let mut table = Table::new(
        "Attach time",
        &["", "median ms", "most ms"],
        "`Probes::open`: reading the kernel's BTF, loading, verifying and attaching all programs; and dropping them.",
    );
    for (what, values) in [("attach", opened), ("detach", closed)] {
        let most = values.iter().copied().fold(0.0, f64::max);
        table.row([
            what.to_owned(),
            format!("{:.0}", median(&values).unwrap_or(most)),
            format!("{most:.0}"),
        ]);
    }
    Ok(table)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
