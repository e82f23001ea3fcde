//! Process and address of a page, on the way that this kernel allows, against the page tables' own word.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapData, RingBuf};
use memmon::{
    decode::{PageEvent, PageOut, decode_page},
    source::{
        pages::{PageOptions, PageProbes},
        proc::monotonic_ns,
    },
};
use memmon_common::page::TagRange;

use super::{
    context::Context,
    worker::{
        PAGE,
        client::{Region, Workload},
    },
};
use crate::{
    case::{Case, Outcome},
    pass,
};

pub(super) const CASES: &[Case<Context>] = &[
    Case {
        name: "pages-set",
        run: set,
    },
    Case {
        name: "pages-tagged",
        run: tagged,
    },
    Case {
        name: "pages-tags-end",
        run: tags_end,
    },
];

/// Large enough for every page of a case.
const RING_BYTES: u32 = 8 << 20;

fn open(context: &Context, all: bool) -> Result<(PageProbes, RingBuf<MapData>)> {
    let mut options = PageOptions {
        all,
        memory_hierarchy: context.tree.hierarchy,
        ..PageOptions::default()
    };
    options.sizes.pages = Some(RING_BYTES);
    Ok(PageProbes::open(options)?)
}

/// All page records that wait in the ring.
fn records(ring: &mut RingBuf<MapData>) -> Result<Vec<PageOut>> {
    let mut pages = Vec::new();
    while let Some(record) = ring.next() {
        if let PageEvent::Page(page) = decode_page(&record)? {
            pages.push(page);
        }
    }
    Ok(pages)
}

/// The addresses in `region` that the page table calls swapped.
fn swapped(pid: u32, region: Region) -> Result<BTreeSet<u64>> {
    use std::os::unix::fs::FileExt as _;
    const SWAPPED: u64 = 1 << 62;
    let file = std::fs::File::open(format!("/proc/{pid}/pagemap")).context("opening pagemap")?;
    let mut bytes = vec![0; usize::try_from(region.pages() * 8)?];
    file.read_exact_at(&mut bytes, region.address / PAGE * 8)
        .context("reading pagemap")?;
    let entries = bytes.as_chunks::<8>().0.iter();
    Ok(entries
        .zip((0u64..).map(|page| region.address + page * PAGE))
        .filter(|(entry, _)| u64::from_le_bytes(**entry) & SWAPPED != 0)
        .map(|(_, address)| address)
        .collect())
}

/// What the records say about a process, expanded to single pages.
fn addresses(records: &[PageOut], workload: &Workload) -> BTreeSet<u64> {
    let of_process = records.iter().filter(|page| page.process.tgid == workload.pid);
    of_process
        .flat_map(|page| (0..page.pages).map(|index| page.address + index * PAGE))
        .collect()
}

fn set(context: &mut Context) -> Result<Outcome> {
    const PAGES: u64 = 4096;
    let owner = context.cgroup("set")?;
    let (probes, mut ring) = open(context, true)?;
    let mut said = Vec::new();
    for kind in ["anon", "huge"] {
        let mut workload = context.workload(&owner)?;
        let region = workload.map(kind, PAGES)?;
        workload.on("fill", region, "")?;
        workload.page_out(region)?;
        let out = swapped(workload.pid, region)?;
        let found = records(&mut ring)?;
        let range = region.address..region.address + region.bytes;
        let told: BTreeSet<u64> = addresses(&found, &workload)
            .into_iter()
            .filter(|address| range.contains(address))
            .collect();
        ensure!(out.len() as u64 == PAGES, "only {} pages are in swap", out.len());
        let (missed, invented) = (out.difference(&told).count(), told.difference(&out).count());
        ensure!(
            missed == 0 && invented == 0,
            "{kind}: {} pages in swap, {} told; {missed} missed, {invented} that are not; {:?}",
            out.len(),
            told.len(),
            probes.totals()?
        );
        let ours = found
            .iter()
            .filter(|page| page.process.tgid == workload.pid && page.owner != owner.id);
        ensure!(ours.count() == 0, "{kind}: pages of another owner");
        said.push(format!("{kind} {}", told.len()));
    }
    pass!(
        "{:?}: the set told is the set in swap: {}; {:?}",
        probes.level(),
        said.join(", "),
        probes.totals()?
    )
}

/// Tags every `stride`-th range of `length` pages of a region, each with a label of its own.
fn ranges(region: Region, stride: u64, length: u32, count: u32) -> Vec<TagRange> {
    (0..u64::from(count))
        .zip(1u32..)
        .map(|(index, label)| TagRange {
            start: region.address + index * stride * PAGE,
            pages: length,
            label,
        })
        .collect()
}

fn tagged(context: &mut Context) -> Result<Outcome> {
    const RANGES: u32 = 1024;
    let owner = context.cgroup("tagged")?;
    let (mut probes, mut ring) = open(context, false)?;
    let (mut workload, region) = context.filled(&owner, 10 * u64::from(RANGES))?;
    let (mut other, _) = context.filled(&owner, 16)?;
    // Three of every ten pages.
    let tags = ranges(region, 10, 3, RANGES);
    probes.set_process_tags(workload.pid, &tags, monotonic_ns())?;
    workload.page_out(region)?;
    other.fill_and_page_out("anon", 64)?;
    let out = swapped(workload.pid, region)?;
    ensure!(out.len() as u64 == region.pages(), "only {} in swap", out.len());
    let hits = probes.region_hits()?;
    ensure!(
        hits.len() == tags.len(),
        "{} of {RANGES} regions were hit",
        hits.len()
    );
    for (key, pages) in &hits {
        ensure!(
            *pages == 3 && key.tgid == workload.pid && key.owner == owner.id,
            "{pages} pages for {key:?}"
        );
    }
    let records = records(&mut ring)?;
    // The first page of each region is told at once; those that follow within the interval are counted only.
    ensure!(
        records.len() >= tags.len(),
        "{} records of {RANGES} regions",
        records.len()
    );
    for page in &records {
        let label = page.label.context("a record without a label")?;
        let range = tags.get(label as usize - 1).context("an unknown label")?;
        ensure!(
            (range.start..range.start + 3 * PAGE).contains(&page.address)
                && page.process.tgid == workload.pid,
            "{page:?} is not in {range:?}"
        );
    }
    pass!(
        "{:?}: {} of {} pages tagged in {RANGES} ranges, each counted once; {} records, {:?}",
        probes.level(),
        3 * RANGES,
        region.pages(),
        records.len(),
        probes.totals()?
    )
}

fn tags_end(context: &mut Context) -> Result<Outcome> {
    let owner = context.cgroup("tags-end")?;
    let (mut probes, mut ring) = open(context, false)?;
    let (mut workload, region) = context.filled(&owner, 64)?;
    let whole = [TagRange {
        start: region.address,
        pages: 64,
        label: 7,
    }];
    probes.set_process_tags(workload.pid, &whole, monotonic_ns())?;
    probes.clear_process_tags(workload.pid, monotonic_ns())?;
    workload.page_out(region)?;
    ensure!(probes.region_hits()?.is_empty(), "hits of a process without tags");
    probes.set_process_tags(workload.pid, &whole, monotonic_ns())?;
    let pid = workload.pid;
    drop(workload);
    let gone = crate::host::wait::until("the tags of a process that ended are gone", || {
        while let Some(record) = ring.next() {
            if let PageEvent::TagsGone { tgid, generation } = decode_page(&record)? {
                return Ok(Some((tgid, generation)));
            }
        }
        Ok(None)
    })?;
    ensure!(
        gone.0 == pid,
        "the tags of process {} ended, not of {pid}",
        gone.0
    );
    ensure!(
        probes.tags_gone(gone.0, gone.1, monotonic_ns()),
        "the agent's side knew nothing of them"
    );
    if probes.processes().count() > 0 {
        bail!("a process has tags still");
    }
    pass!("none after clearing, none after the end of the process")
}
