//! Pages per second that all CPUs together push out, with and without memmon, and what memmon lost of them.

use std::{fs, thread, time::Instant};

use anyhow::{Context as _, Result, ensure};
use memmon::{decode::VmStat, source::proc::Proc};

use super::{cost, float, median, report::Table};
use crate::live::{context::Context, meter::Meter};

/// 32 MiB for each CPU.
const PAGES: u64 = 8192;
const ROUNDS_EACH: u32 = 12;

pub(super) fn measure(context: &Context, rounds: usize) -> Result<Table> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut written, mut lost) = (0, 0);
    for round in 0..rounds {
        let proc = Proc::default();
        let count = || -> Result<u64> {
            proc.refresh_vmstat()?;
            let vmstat = VmStat::parse(&proc.vmstat()?);
            vmstat.nr_vmscan_write.context("no nr_vmscan_write")
        };
        let before = count()?;
        let seconds = storm(context)?;
        without.push(float(count()? - before) / seconds);

        let (probes, _rings) = cost::agent_mode(context)?;
        let meter = Meter::start(&probes)?;
        let seconds = storm(context)?;
        let gain = meter.gain(&probes)?;
        with.push(float(gain.written) / seconds);
        written += gain.written;
        lost += gain.written.abs_diff(gain.counted()) + gain.overflow + gain.misses;
        eprintln!(
            "bench: round {}: {:.0}/s without, {:.0}/s with memmon",
            round + 1,
            without[round],
            with[round]
        );
    }
    ensure!(written > 0, "nothing was swapped");
    let mut table = Table::new(
        "Pages per second",
        &["", "pages/s", "best round", "pages", "lost"],
        &format!(
            "One process per CPU fills {} MiB and pages them out with MADV_PAGEOUT, over and over; filling is part of the \
             time. Medians, in turns; BPF statistics {}. Lost: pages in nr_vmscan_write that no owner's counter holds.",
            PAGES / 256,
            statistics()?,
        ),
    );
    let line = |values: &[f64]| -> Result<[String; 2]> {
        let best = values.iter().copied().fold(0.0, f64::max);
        let middle = median(values).context("no rounds")?;
        Ok([format!("{middle:.0}"), format!("{best:.0}")])
    };
    let [middle, best] = line(&without)?;
    table.row(["without memmon".to_owned(), middle, best, "–".into(), "–".into()]);
    let [middle, best] = line(&with)?;
    table.row([
        "with memmon".to_owned(),
        middle,
        best,
        written.to_string(),
        lost.to_string(),
    ]);
    Ok(table)
}

fn statistics() -> Result<&'static str> {
    let on = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled")?;
    Ok(if on.trim() == "0" { "off" } else { "on" })
}

/// Seconds it took.
fn storm(context: &Context) -> Result<f64> {
    let cgroup = context.cgroup("storm")?;
    let mut busy = Vec::new();
    for _ in 0..thread::available_parallelism()?.get() {
        let mut workload = context.workload(&cgroup)?;
        let region = workload.map("anon", PAGES)?;
        busy.push((workload, region));
    }
    let start = Instant::now();
    for (workload, region) in &mut busy {
        workload.tell_on("renew", *region, &ROUNDS_EACH.to_string())?;
    }
    for (workload, _) in &mut busy {
        workload.answer()?;
    }
    Ok(start.elapsed().as_secs_f64())
}
