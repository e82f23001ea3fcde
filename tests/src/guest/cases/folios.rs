//! Folios that are not one private page with content: the two ledgers differ as kernel.md says, and the trace
//! shows both.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{
    guest::{
        Case, Ctx, Outcome, pagemap, stream::Stream, undo::Undo, units::Unit, vmstat::Vmstat, workload::Hold,
    },
    workload::{Fill, Kind},
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "attribution.thp",
        run: thp,
        seconds: 120,
    },
    Case {
        name: "attribution.shmem",
        run: shmem,
        seconds: 120,
    },
    Case {
        name: "attribution.zero-pages",
        run: zero_pages,
        seconds: 90,
    },
];

const PAGE: u64 = 4096;
/// What has to go out at least of 8 MiB that are to go out.
const MANY: u64 = 1536;

/// A large folio counts in full, once.
fn thp(ctx: &mut Ctx) -> Result<Outcome> {
    const UNIT: &str = "attr-thp.service";
    let setting = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    if !setting.exists() {
        return Outcome::skipped("no transparent huge pages in this kernel");
    }
    ctx.set(setting, "madvise")?;
    ctx.swap_on_zram(128)?;
    let hold = Hold {
        kind: Kind::Thp,
        ..Hold::mib(16)
    };
    let workload = ctx.workload(UNIT, &hold)?;
    let cgroup = workload.unit.cgroup()?;
    // Asked before anything goes out: an answer takes pages of the process back in.
    let range = workload.range()?;
    let before = Vmstat::read()?;
    let trace = ctx.trace(&["--pages"])?;
    cgroup.reclaim(hold.mib << 20)?;
    let stream = trace.finish(ctx)?;
    let written = stream.complete()?;
    let whole = Vmstat::read()?.since(&before, "thp_swpout")?;
    // With --pages every line is a page, those of a large folio too.
    let mut told = BTreeSet::new();
    let pid = workload.unit.main_pid()?;
    for line in stream.of(UNIT) {
        let page = line
            .page
            .as_ref()
            .with_context(|| format!("no address: {line:?}"))?;
        let address = page.address()?;
        ensure!(line.pages == 1, "more than one page: {line:?}");
        if page.pid == pid && (range.start..range.start + range.length).contains(&address) {
            ensure!(
                page.exact && page.mapping.as_deref() == Some("[anon]") && page.comm == "memmon-workload",
                "{line:?}"
            );
            told.insert(address);
        }
    }
    let out: BTreeSet<u64> = pagemap::swapped(pid, range)?.into_iter().collect();
    ensure!(
        told == out,
        "{} addresses of the mapping traced, {} of its pages are in swap",
        told.len(),
        out.len()
    );
    let pages = in_swap(&stream, &workload.unit, MANY)?;
    if whole == 0 {
        return Outcome::skipped(format!(
            "the kernel split every large folio; {pages} pages counted all the same"
        ));
    }
    Outcome::passed(format!(
        "{whole} large folios, {pages} of {written} pages, as in swap; {} addresses of the mapping",
        told.len()
    ))
}

/// Shared memory is the unit's that touched it first, whichever file it belongs to.
fn shmem(ctx: &mut Ctx) -> Result<Outcome> {
    const FILE: &str = "/dev/shm/memmon-attribution";
    ctx.swap_on_zram(128)?;
    let hold = |kind| Hold { kind, ..Hold::mib(8) };
    ctx.undo().note(&Undo::Remove(FILE.into()))?;
    let copy = Hold {
        service: &format!("ExecStartPre=/bin/dd if=/dev/urandom of={FILE} bs=1M count=8 status=none"),
        ..Hold::mib(1)
    };
    let units = [
        ctx.workload("attr-shmem.service", &hold(Kind::Shmem))?.unit,
        ctx.workload("attr-memfd.service", &hold(Kind::Memfd))?.unit,
        ctx.workload("attr-tmpfs.service", &copy)?.unit,
    ];
    let trace = ctx.trace(&[])?;
    for unit in &units {
        unit.cgroup()?.reclaim(9 << 20)?;
    }
    let stream = trace.finish(ctx)?;
    let written = stream.complete()?;
    let mut said = Vec::new();
    for unit in &units {
        said.push(format!("{} {}", unit.name(), in_swap(&stream, unit, MANY)?));
    }
    Outcome::passed(format!("{} of {written} pages, as in swap", said.join(", ")))
}

/// A page of zeroes goes out like any other, but from 6.12 on nothing is written for it.
fn zero_pages(ctx: &mut Ctx) -> Result<Outcome> {
    const UNIT: &str = "attr-zero.service";
    ctx.swap_on_zram(64)?;
    let hold = Hold {
        fill: Fill::Zero,
        ..Hold::mib(8)
    };
    let workload = ctx.workload(UNIT, &hold)?;
    let trace = ctx.trace(&[])?;
    workload.unit.cgroup()?.reclaim(hold.mib << 20)?;
    let stream = trace.finish(ctx)?;
    stream.complete()?;
    let pages = in_swap(&stream, &workload.unit, MANY)?;
    let ledger = &stream.end()?.ledger;
    let written = ledger.pswpout.context("pswpout")?;
    // The unit's own few pages beside the zeroes: stack, heap, data.
    let detail = match ledger.zero {
        Some(zero) => {
            ensure!(
                zero >= MANY && written < MANY / 4,
                "zero pages were written: {:?}",
                stream.end()?
            );
            format!("{zero} found to be zero, {written} written")
        }
        None => {
            ensure!(written >= pages, "{pages} pages went out, {written} were written");
            format!("{written} written: this kernel looks for no zeroes")
        }
    };
    Outcome::passed(format!("{pages} pages, as in swap; {detail}"))
}

/// Pages of the unit, found to be as many as its cgroup has in swap, and at least `least`. Holds for units
/// that have not touched anything since.
fn in_swap(stream: &Stream, unit: &Unit, least: u64) -> Result<u64> {
    let pages = stream.only_kind(unit.name(), "proactive")?;
    let swap = unit.cgroup()?.number("memory.swap.current")? / PAGE;
    ensure!(
        pages == swap,
        "{pages} pages of {} went out, but it has {swap} in swap",
        unit.name()
    );
    ensure!(pages >= least, "only {pages} pages of {} went out", unit.name());
    Ok(pages)
}
