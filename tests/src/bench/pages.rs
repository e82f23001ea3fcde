//! What page level costs where functions cannot be hooked: the walk, and the search for a tagged range.

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use memmon::{
    kernel::{
        plan::pages::PageLevel,
        probe::{self, VMLINUX_BTF},
        programs,
    },
    source::{
        pages::{PageOptions, PageProbes},
        proc::monotonic_ns,
    },
};
use memmon_common::page::TagRange;

use super::{
    cost::{Reader, empty, per_event},
    median,
    report::Table,
};
use crate::{
    live::{context::Context, worker::client::Region},
    pages::PAGE,
};

/// 64 MiB in memory at once.
const PAGES: u64 = 16_384;
const RANGES: u64 = 1024;

/// What the process whose pages go has tagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Empty,
    Nothing,
    Elsewhere,
    Everything,
    Trace,
}

const VARIANTS: [(Variant, &str); 5] = [
    (Variant::Empty, "empty program"),
    (Variant::Nothing, "a process without tags"),
    (Variant::Elsewhere, "1,024 ranges, the page in none"),
    (Variant::Everything, "1,024 ranges, the page in one"),
    (Variant::Trace, "a record for every page (trace --pages)"),
];

pub(super) fn measure(context: &Context, rounds: usize) -> Result<Table> {
    let _counting = enable_stats(Stats::RunTime)?;
    let mut samples = vec![Vec::new(); VARIANTS.len()];
    for round in 0..rounds {
        for ((variant, name), of_variant) in VARIANTS.iter().zip(&mut samples) {
            let ns = once(context, *variant)?;
            eprintln!("bench: round {}: {name}: {ns:.1} ns", round + 1);
            of_variant.push(ns);
        }
    }
    let mut table = Table::new(
        "Page level: the walk",
        &["the process has tagged", "ns per page", "above empty"],
        "As above, with `MADV_PAGEOUT`. The walk runs beside owner attribution, where functions cannot be hooked; the \
         second row below the empty program less the first is a look-up among 1,024 ranges. Without tags on the host \
         none of this is attached.",
    );
    let floor = samples
        .first()
        .and_then(|values| median(values))
        .context("no rounds")?;
    for ((_, name), values) in VARIANTS.iter().zip(&samples) {
        let middle = median(values).context("no rounds")?;
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        table.row([
            (*name).to_owned(),
            format!("{middle:.1} ({least:.1}–{most:.1})"),
            format!("{:.1}", middle - floor),
        ]);
    }
    Ok(table)
}

fn once(context: &Context, variant: Variant) -> Result<f64> {
    let cgroup = context.cgroup("bench")?;
    let mut workload = context.workload(&cgroup)?;
    // The kernel maps downwards: what is tagged elsewhere lies on both sides of what goes.
    let above = workload.map("anon", RANGES)?;
    let region = workload.map("anon", PAGES)?;
    let below = workload.map("anon", RANGES)?;
    if variant == Variant::Empty {
        let facts = probe::facts(&probe::read_btf(std::path::Path::new(VMLINUX_BTF))?);
        let ebpf = empty(&facts)?;
        workload.on("storm", region, "4")?;
        return per_event(&programs::stats(&ebpf), "bench_empty");
    }
    let mut options = PageOptions {
        all: variant == Variant::Trace,
        memory_hierarchy: context.tree.hierarchy,
        ..PageOptions::default()
    };
    options.sizes.pages = Some(8 << 20);
    let (mut probes, ring) = PageProbes::open(options)?;
    ensure!(
        probes.level() == PageLevel::Approximate,
        "this kernel does better than the walk: its cost is measured in the virtual machines"
    );
    let reader = Reader::start(ring);
    let mut tags = match variant {
        Variant::Elsewhere => [ranges(below, 2, 1), ranges(above, 2, 1)].concat(),
        Variant::Everything => ranges(region, PAGES / RANGES, PAGES / RANGES),
        Variant::Empty | Variant::Nothing | Variant::Trace => Vec::new(),
    };
    tags.sort_by_key(|range| range.start);
    probes.set_process_tags(workload.pid, &tags, monotonic_ns())?;
    workload.on("storm", region, "4")?;
    let records = reader.stop();
    let quiet = matches!(variant, Variant::Nothing | Variant::Elsewhere);
    ensure!(quiet == (records == 0), "{variant:?}: {records} records");
    per_event(&probes.stats(), "page_walk")
}

/// One range of `length` pages at every `stride` pages of a region.
fn ranges(region: Region, stride: u64, length: u64) -> Vec<TagRange> {
    (0..region.pages() / stride)
        .zip(1u32..)
        .map(|(index, label)| TagRange {
            start: region.address + index * stride * PAGE,
            pages: u32::try_from(length).unwrap_or(u32::MAX),
            label,
        })
        .collect()
}
