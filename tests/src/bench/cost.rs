//! Nanoseconds per swapped-out folio, from the kernel's own BPF run-time statistics.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Btf, Ebpf,
    maps::{MapData, RingBuf},
    programs::BtfTracePoint,
    sys::{Stats, enable_stats},
};
use memmon::{
    kernel::{
        load::{self, MapSizes},
        plan::{self, Facts},
        probe::{self, VMLINUX_BTF},
        programs,
    },
    source::probes::{Options, Probes},
};
use memmon_common::offsets::Settings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{float, median, report::Table};
use crate::{host::cgroup::Cgroup, live::context::Context, live::worker::PAGE};

/// 64 MiB in memory at once.
const PAGES: u64 = 16_384;
/// Fewer events than this say nothing.
const LEAST_EVENTS: u64 = 20_000;

/// How pages are made to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Limit,
    Advice,
}

/// What is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Empty,
    Attribution,
    Critical,
    Trace,
}

const VARIANTS: [(Variant, &str); 4] = [
    (Variant::Empty, "empty program"),
    (Variant::Attribution, "owner attribution (agent)"),
    (Variant::Critical, "attribution + critical record"),
    (Variant::Trace, "a record for every folio (trace)"),
];

pub(super) fn measure(context: &Context, rounds: usize) -> Result<Table> {
    let _counting = enable_stats(Stats::RunTime)?;
    let btf = probe::read_btf(std::path::Path::new(VMLINUX_BTF))?;
    let facts = probe::facts(&btf);
    let mut samples = vec![[Vec::new(), Vec::new()]; VARIANTS.len()];
    for round in 0..rounds {
        for (variant, of_variant) in VARIANTS.iter().zip(&mut samples) {
            for (load, of_load) in [Load::Limit, Load::Advice].into_iter().zip(of_variant) {
                let ns = once(context, &facts, variant.0, load)?;
                eprintln!("bench: round {}: {}, {load:?}: {ns:.1} ns", round + 1, variant.1);
                of_load.push(ns);
            }
        }
    }
    let mut table = Table::new(
        "Cost per event",
        &[
            "program",
            "limit reclaim",
            "above empty",
            "MADV_PAGEOUT",
            "above empty",
        ],
        "Nanoseconds, `run_time_ns / run_cnt` of the kernel's BPF statistics; medians (least to most). The programs \
         were attached one at a time, in turns.",
    );
    let floor: Vec<f64> = samples[0].iter().filter_map(|values| median(values)).collect();
    for ((_, name), of_variant) in VARIANTS.iter().zip(&samples) {
        let mut cells = vec![(*name).to_owned()];
        for (values, floor) in of_variant.iter().zip(&floor) {
            let middle = median(values).context("no rounds")?;
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            cells.push(format!("{middle:.1} ({least:.1}–{most:.1})"));
            cells.push(format!("{:.1}", middle - floor));
        }
        table.row(cells);
    }
    Ok(table)
}

fn once(context: &Context, facts: &Facts, variant: Variant, load: Load) -> Result<f64> {
    let cgroup = context.cgroup("bench")?;
    if variant == Variant::Empty {
        let ebpf = empty(facts)?;
        exercise(context, &cgroup, load)?;
        return per_event(&programs::stats(&ebpf), "bench_empty");
    }
    let emit_all = variant == Variant::Trace;
    let (mut probes, rings) = context.probes(Options {
        emit_all,
        sizes: MapSizes {
            events: emit_all.then_some(8 << 20),
            ..MapSizes::default()
        },
        ..Options::default()
    })?;
    if variant == Variant::Critical {
        probes.mark_critical(cgroup.id)?;
    }
    let reader = Reader::start(rings.events);
    exercise(context, &cgroup, load)?;
    let records = reader.stop();
    let ns = per_event(&probes.stats(), "swap_out")?;
    ensure!(
        (variant == Variant::Attribution) == (records == 0),
        "{variant:?}: {records} records"
    );
    Ok(ns)
}

fn exercise(context: &Context, cgroup: &Cgroup, load: Load) -> Result<()> {
    let mut workload = context.workload(cgroup)?;
    match load {
        Load::Limit => {
            cgroup.limit(PAGES * PAGE)?;
            let region = workload.map("anon", 2 * PAGES)?;
            workload.on("churn", region, "2")?;
        }
        Load::Advice => {
            let region = workload.map("anon", PAGES)?;
            workload.on("storm", region, "4")?;
        }
    }
    Ok(())
}

/// Time of the program called `name` for each of its runs; that of a second one for the same events included.
pub(super) fn per_event(stats: &[programs::ProgramStats], name: &str) -> Result<f64> {
    let program = stats.iter().find(|program| program.name == name);
    let program = program.with_context(|| format!("{name} is not loaded"))?;
    ensure!(
        program.run_count >= LEAST_EVENTS,
        "{name} ran only {} times",
        program.run_count
    );
    let together = stats.iter().filter(|program| program.name.starts_with(name));
    let time: u64 = together.map(|program| program.run_time_ns).sum();
    Ok(float(time) / float(program.run_count))
}

/// The empty program alone, at the tracepoint that the attribution would use.
pub(super) fn empty(facts: &Facts) -> Result<Ebpf> {
    let target = plan::plan(facts)
        .into_iter()
        .find(|hook| hook.role == "swap_out")
        .and_then(|hook| hook.attach.ok())
        .context("no swap-out tracepoint")?
        .target;
    let loaded = load::load(
        &[],
        &probe::kernel_facts(facts),
        &Settings::DEFAULT,
        MapSizes::default(),
        0,
    )?;
    let mut ebpf = loaded.ebpf;
    let program = ebpf.program_mut("bench_empty").context("no empty program")?;
    let program: &mut BtfTracePoint = program.try_into()?;
    program.load(target, &Btf::from_sys_fs()?)?;
    program.attach()?;
    Ok(ebpf)
}

/// Empties a ring of records as the agent does, on another thread.
pub(super) struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Reader {
    pub(super) fn start(mut ring: RingBuf<MapData>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut records = 0;
            loop {
                let last = seen.load(Ordering::Acquire);
                while ring.next().is_some() {
                    records += 1;
                }
                if last {
                    return records;
                }
                // As `memmon trace`: records gather for a while. An interrupted wait is as good as a short one.
                let slice = Timespec::try_from(Duration::from_millis(10)).unwrap_or_default();
                let _ = poll(&mut [PollFd::new(&ring, PollFlags::IN)], Some(&slice));
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { stop, thread }
    }

    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or(0)
    }
}

/// Programs as the agent attaches them.
pub(super) fn agent_mode(context: &Context) -> Result<(Probes, memmon::source::probes::Rings)> {
    context.probes(Options::default())
}
