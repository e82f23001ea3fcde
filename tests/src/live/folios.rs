//! Folios that are not a single private page: large ones, shared memory, zeroes.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::{
    context::Context,
    tracer::{Stream, Tracer, number},
};
use crate::{
    case::{Case, Outcome},
    guest::pagemap,
    host::setting::Setting,
    pass, skip,
    workload::Range,
};

pub(super) const CASES: &[Case<Context>] = &[
    Case {
        name: "folios-huge",
        run: huge,
    },
    Case {
        name: "folios-memfd",
        run: memfd,
    },
    Case {
        name: "folios-zero",
        run: zero,
    },
];

/// Pages of a 2 MiB folio.
const HUGE: u64 = 512;

fn vmstat(name: &str) -> Result<Option<u64>> {
    let text = fs::read_to_string("/proc/vmstat")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.and_then(|value| value.trim().parse().ok()))
}

fn huge(context: &mut Context) -> Result<Outcome> {
    const FOLIOS: u64 = 16;
    let settings = Path::new("/sys/kernel/mm/transparent_hugepage");
    if !settings.exists() {
        skip!("this kernel has no transparent huge pages");
    }
    let _enabled = Setting::set(settings.join("enabled"), "madvise")?;
    let of_size = settings.join("hugepages-2048kB/enabled");
    let _of_size = of_size
        .exists()
        .then(|| Setting::set(of_size, "inherit"))
        .transpose()?;
    let owner = context.cgroup("huge")?;
    let tracer = Tracer::watching(context, &["--pages"])?;
    let before = vmstat("thp_swpout")?.unwrap_or(0);
    let mut workload = context.workload(&owner)?;
    let region = workload.fill_and_page_out("huge", FOLIOS * HUGE)?;
    let whole = vmstat("thp_swpout")?.unwrap_or(0) - before;
    let stream = tracer.finish()?;
    stream.complete()?;
    let pages = stream.pages_named(owner.id, &owner.path)?;
    ensure!(
        pages == region.pages(),
        "{pages} pages shown, {} in swap",
        region.pages()
    );
    // With --pages each line is a page, those of a large folio too.
    let out = pagemap::swapped(
        workload.pid,
        Range {
            start: region.address,
            length: region.bytes,
        },
    )?;
    let told: BTreeSet<u64> = stream
        .of(owner.id)
        .filter(|line| line["page"]["pid"] == workload.pid)
        .map(|line| {
            ensure!(line["pages"] == 1, "a line of more than one page: {line}");
            let address = line["page"]["address"].as_str().unwrap_or_default();
            let digits = address.strip_prefix("0x").context("no address")?;
            Ok(u64::from_str_radix(digits, 16)?)
        })
        .collect::<Result<_>>()?;
    ensure!(
        told == out.iter().copied().collect(),
        "{} addresses shown, {} pages in swap",
        told.len(),
        out.len()
    );
    if whole == 0 {
        skip!("the kernel split every large folio ({pages} pages shown all the same)");
    }
    pass!("{whole} folios of {HUGE} pages, {pages} pages in all, each with its address")
}

fn memfd(context: &mut Context) -> Result<Outcome> {
    const PAGES: u64 = 2048;
    let owner = context.cgroup("memfd")?;
    let tracer = Tracer::watching(context, &[])?;
    let mut workload = context.workload(&owner)?;
    let region = workload.map("memfd", PAGES)?;
    workload.on("fill", region, "")?;
    // Its pagemap does not tell swapped pages of shared memory, so the second call catches what the first left.
    workload.on("pageout", region, "")?;
    workload.on("pageout-everywhere", region, "")?;
    let stream = tracer.finish()?;
    let written = stream.complete()?;
    let pages = stream.pages_named(owner.id, &owner.path)?;
    ensure!(pages == PAGES, "{pages} of {PAGES} pages of shared memory shown");
    pass!("{pages} pages of the first toucher, {written} written")
}

fn zero(context: &mut Context) -> Result<Outcome> {
    const ZEROES: u64 = 2048;
    const OTHERS: u64 = 512;
    if vmstat("swpout_zero")?.is_none() {
        skip!("this kernel writes zero pages as all others (before 6.12)");
    }
    let owner = context.cgroup("zero")?;
    let tracer = Tracer::watching(context, &[])?;
    let mut workload = context.workload(&owner)?;
    let region = workload.map("anon", ZEROES)?;
    workload.on("zero", region, "")?;
    workload.page_out(region)?;
    workload.fill_and_page_out("anon", OTHERS)?;
    let stream = tracer.finish()?;
    let written = stream.complete()?;
    let pages = stream.pages_named(owner.id, &owner.path)?;
    ensure!(
        pages == ZEROES + OTHERS,
        "{pages} of {} pages shown",
        ZEROES + OTHERS
    );
    let zero = number(&stream.end, "/ledger/zero")?;
    let device = number(&stream.end, "/ledger/pswpout")?;
    // Nobody else here swaps, but for the odd page of zeroes.
    ensure!(
        zero >= ZEROES,
        "{zero} zero pages in the ledger, {ZEROES} went out"
    );
    ensure!(
        Stream::pages(stream.lines.iter())? == zero + device,
        "{zero} zero pages and {device} written are not {written}"
    );
    pass!("{written} at the tracepoint: {zero} zero, {device} written")
}
