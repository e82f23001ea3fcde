//! Process and address of a page, on the way that this kernel allows, against the page tables' own word.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use memmon::source::proc::monotonic_ns;
use memmon_common::page::{PROCESS_RANGES, REGIONS, TagRange};

use super::{context::Context, worker::client::Region};
use crate::{
    case::{Case, Outcome},
    host::{setting::Setting, wait},
    pages::{PAGE, Watch},
    pass,
    workload::Range,
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
        name: "pages-search",
        run: search,
    },
    Case {
        name: "pages-labels-overflow",
        run: labels_overflow,
    },
    Case {
        name: "pages-tagged-huge",
        run: tagged_huge,
    },
    Case {
        name: "pages-tags-end",
        run: tags_end,
    },
];

fn range(region: Region) -> Range {
    Range {
        start: region.address,
        length: region.bytes,
    }
}

fn set(context: &mut Context) -> Result<Outcome> {
    const PAGES: u64 = 4096;
    let owner = context.cgroup("set")?;
    let mut watch = Watch::open(context.tree.hierarchy, true)?;
    let mut said = Vec::new();
    for kind in ["anon", "huge"] {
        let mut workload = context.workload(&owner)?;
        let region = workload.fill_and_page_out(kind, PAGES)?;
        let pages = watch.same_set(workload.pid, range(region), PAGES)?;
        let pid = workload.pid;
        let strangers = watch
            .pages()?
            .iter()
            .filter(|page| page.process.tgid == pid && page.owner != owner.id);
        ensure!(strangers.count() == 0, "{kind}: pages of another owner");
        said.push(format!("{kind} {pages}"));
    }
    pass!(
        "{:?}: the set told is the set in swap: {}; {:?}",
        watch.probes.level(),
        said.join(", "),
        watch.probes.totals()?
    )
}

/// Ranges of `length` pages, one at every `stride` pages of a region, each with a label of its own.
fn ranges(region: Region, stride: u64, length: u32) -> Vec<TagRange> {
    (0..region.pages() / stride)
        .zip(1u32..)
        .map(|(index, label)| TagRange {
            start: region.address + index * stride * PAGE,
            pages: length,
            label,
        })
        .collect()
}

/// Whether every range was hit in full, and nothing else.
fn hit_in_full(watch: &Watch, tags: &[TagRange]) -> Result<()> {
    let hits = watch.probes.region_hits()?;
    ensure!(
        hits.len() == tags.len(),
        "{} of {} regions were hit",
        hits.len(),
        tags.len()
    );
    for (label, pages) in &hits {
        let range = tags.get(*label as usize - 1).context("an unknown label")?;
        ensure!(
            *pages == u64::from(range.pages),
            "{pages} pages of {range:?}, label {label}"
        );
    }
    Ok(())
}

fn tagged(context: &mut Context) -> Result<Outcome> {
    let owner = context.cgroup("tagged")?;
    let mut watch = Watch::open(context.tree.hierarchy, false)?;
    let (mut workload, region) = context.filled(&owner, 10_240)?;
    let mut other = context.workload(&owner)?;
    // Three of every ten pages.
    let tags = ranges(region, 10, 3);
    watch
        .probes
        .set_process_tags(workload.pid, &tags, monotonic_ns())?;
    workload.page_out(region)?;
    other.fill_and_page_out("anon", 64)?;
    hit_in_full(&watch, &tags)?;
    // The first page of each region is told at once; those that follow within the interval are counted only.
    let records = watch.pages()?;
    ensure!(
        records.len() >= tags.len(),
        "{} records of {} regions",
        records.len(),
        tags.len()
    );
    for page in records {
        let label = page.label.context("a record without a label")?;
        let range = tags.get(label as usize - 1).context("an unknown label")?;
        let within = range.start..range.start + u64::from(range.pages) * PAGE;
        ensure!(
            within.contains(&page.address) && page.process.tgid == workload.pid,
            "{page:?} is not in {range:?}"
        );
    }
    let records = records.len();
    pass!(
        "{:?}: 30 % of {} pages tagged in {} ranges, each hit in full; {records} records, {:?}",
        watch.probes.level(),
        region.pages(),
        tags.len(),
        watch.probes.totals()?
    )
}

/// The search finds each of any number of ranges, and nothing between them.
fn search(context: &mut Context) -> Result<Outcome> {
    const COUNTS: [u64; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 1023, PROCESS_RANGES as u64];
    let owner = context.cgroup("search")?;
    let mut watch = Watch::open(context.tree.hierarchy, false)?;
    for count in COUNTS {
        let (mut workload, region) = context.filled(&owner, 2 * count)?;
        let tags = ranges(region, 2, 1);
        watch
            .probes
            .set_process_tags(workload.pid, &tags, monotonic_ns())?;
        workload.page_out(region)?;
        hit_in_full(&watch, &tags).with_context(|| format!("{count} ranges"))?;
        for (label, _) in watch.probes.region_hits()? {
            watch.probes.forget_region(label)?;
        }
        watch.probes.clear_process_tags(workload.pid, monotonic_ns())?;
    }
    pass!("every second page tagged, in {COUNTS:?} ranges: exactly those are hits")
}

/// More labels than can be counted: their pages are counted together, with few records, and forgetting makes room.
fn labels_overflow(context: &mut Context) -> Result<Outcome> {
    const RANGES: u32 = PROCESS_RANGES;
    let owner = context.cgroup("labels-overflow")?;
    let mut watch = Watch::open(context.tree.hierarchy, false)?;
    let (mut workload, region) = context.filled(&owner, 2 * u64::from(RANGES))?;
    let mut round = |watch: &mut Watch, number: u32| -> Result<(u64, usize)> {
        let mut tags = ranges(region, 2, 1);
        for tag in &mut tags {
            tag.label += number * RANGES;
        }
        watch
            .probes
            .set_process_tags(workload.pid, &tags, monotonic_ns())?;
        let (overflow, records) = (watch.probes.totals()?.overflow_pages, watch.pages()?.len());
        workload.on("fill", region, "")?;
        workload.page_out(region)?;
        Ok((
            watch.probes.totals()?.overflow_pages - overflow,
            watch.pages()?.len() - records,
        ))
    };
    let room = REGIONS / RANGES;
    for number in 0..room {
        let (overflow, _) = round(&mut watch, number)?;
        ensure!(overflow == 0, "{overflow} pages found no room in round {number}");
    }
    let (overflow, records) = round(&mut watch, room)?;
    let left = REGIONS - room * RANGES;
    ensure!(
        overflow >= u64::from(RANGES - left),
        "only {overflow} of {RANGES} pages found no room, there were {left} places"
    );
    // Each label that found room has a record; all others share one limit, a record every 10 ms.
    ensure!(
        records < RANGES as usize / 4,
        "{records} records of {overflow} pages that found no room"
    );
    for (label, _) in watch.probes.region_hits()? {
        watch.probes.forget_region(label)?;
    }
    let (after, _) = round(&mut watch, room + 1)?;
    ensure!(after == 0, "{after} pages found no room in an empty map");
    pass!("{overflow} pages of labels without room, {records} records; none after they were forgotten")
}

fn tagged_huge(context: &mut Context) -> Result<Outcome> {
    let owner = context.cgroup("tagged-huge")?;
    let enabled = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    let _enabled = enabled
        .exists()
        .then(|| Setting::set(enabled, "madvise"))
        .transpose()?;
    let mut watch = Watch::open(context.tree.hierarchy, false)?;
    let mut workload = context.workload(&owner)?;
    let region = workload.map("huge", 4096)?;
    workload.on("fill", region, "")?;
    // Ranges that begin before, within and behind each large folio, if there are any.
    let tags = ranges(region, 7, 5);
    watch
        .probes
        .set_process_tags(workload.pid, &tags, monotonic_ns())?;
    workload.page_out(region)?;
    hit_in_full(&watch, &tags)?;
    let largest = watch.pages()?.iter().map(|page| page.pages).max().unwrap_or(0);
    pass!(
        "{:?}: {} ranges of 5 pages hit in full, up to {largest} pages at once",
        watch.probes.level(),
        tags.len()
    )
}

fn tags_end(context: &mut Context) -> Result<Outcome> {
    let owner = context.cgroup("tags-end")?;
    let mut watch = Watch::open(context.tree.hierarchy, false)?;
    let (mut workload, region) = context.filled(&owner, 64)?;
    let whole = [TagRange {
        start: region.address,
        pages: 64,
        label: 7,
    }];
    let pid = workload.pid;
    watch.probes.set_process_tags(pid, &whole, monotonic_ns())?;
    watch.probes.clear_process_tags(pid, monotonic_ns())?;
    workload.page_out(region)?;
    ensure!(
        watch.probes.region_hits()?.is_empty(),
        "hits of a process without tags"
    );
    watch.probes.set_process_tags(pid, &whole, monotonic_ns())?;
    drop(workload);
    let (gone, generation) = wait::until("the tags of a process that ended are gone", || {
        Ok(watch.gone()?.first().copied())
    })?;
    ensure!(gone == pid, "the tags of process {gone} ended, not of {pid}");
    ensure!(
        watch.probes.tags_gone(gone, generation, monotonic_ns()),
        "the agent's side knew nothing of them"
    );
    ensure!(watch.probes.processes().count() == 0, "a process has tags still");
    pass!("none after clearing, none after the end of the process")
}
