//! Process and address of each page: what is told is what the page tables say, both ways.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use memmon::{
    decode::ReclaimKind,
    kernel::programs::ProgramStats,
    source::{
        probes::{Options, Probes},
        proc::monotonic_ns,
    },
};
use memmon_common::page::TagRange;
use serde_json::Value;

use crate::{
    guest::{Case, Ctx, Outcome, workload::Hold, workload::Workload},
    pages::{PAGE, Watch},
    workload::{Kind, Range},
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "pages.reclaim",
        run: reclaim,
        seconds: 120,
    },
    Case {
        name: "pages.check",
        run: check,
        seconds: 90,
    },
    Case {
        name: "pages.forked",
        run: forked,
        seconds: 120,
    },
    Case {
        name: "pages.moved",
        run: moved,
        seconds: 120,
    },
    Case {
        name: "pages.thp",
        run: thp,
        seconds: 120,
    },
    Case {
        name: "pages.limit",
        run: limit,
        seconds: 120,
    },
    Case {
        name: "pages.kswapd",
        run: kswapd,
        seconds: 240,
    },
    Case {
        name: "pages.tagged",
        run: tagged,
        seconds: 120,
    },
    Case {
        name: "pages.cost",
        run: cost,
        seconds: 180,
    },
    Case {
        name: "pages.tags-end",
        run: tags_end,
        seconds: 90,
    },
];

const UNIT: &str = "pages.service";

fn watch(all: bool) -> Result<Watch> {
    let watch = Watch::open(0, all)?;
    ensure!(
        watch.exact(),
        "the exact way is not attached: {:?}",
        watch
            .probes
            .hooks()
            .iter()
            .map(|hook| &hook.attached)
            .collect::<Vec<_>>()
    );
    Ok(watch)
}

fn workload(ctx: &Ctx, hold: &Hold<'_>) -> Result<(Workload, u32, Range)> {
    let workload = ctx.workload(UNIT, hold)?;
    let pid = workload.unit.main_pid()?;
    let range = workload.range()?;
    Ok((workload, pid, range))
}

/// Has the whole unit reclaimed by a shell.
fn push_out(workload: &Workload) -> Result<()> {
    workload.unit.cgroup()?.reclaim(256 << 20)
}

/// What `memmon check` says of page level is what attaching it comes to.
fn check(_: &mut Ctx) -> Result<Outcome> {
    let output = Command::new("/usr/bin/memmon")
        .args(["check", "--json"])
        .output()
        .context("starting memmon check")?;
    let document: Value = serde_json::from_slice(&output.stdout).context("the check's document")?;
    let level = &document["page_level"];
    let watch = watch(true)?;
    ensure!(
        level["available"] == true && level["exact"] == watch.exact() && level["reason"].is_null(),
        "{level}, but the exact way is attached"
    );
    Outcome::passed(format!("page level: {level}"))
}

fn reclaim(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(16);
    let (workload, pid, range) = workload(ctx, &hold)?;
    let owner = workload.unit.cgroup()?.id()?;
    let mut watch = watch(true)?;
    push_out(&workload)?;
    let pages = watch.same_set(pid, range, hold.pages() * 9 / 10)?;
    let told = watch.pages()?.iter().filter(|page| page.process.tgid == pid);
    for page in told.clone() {
        ensure!(
            page.owner == owner
                && page.comm == "memmon-workload"
                && page.reclaimer.kind == ReclaimKind::Proactive
                && page.reclaimer.pid == std::process::id(),
            "{page:?}"
        );
    }
    let all = told.count();
    // Brought back and pushed out again without a change: clean pages, which leave without being written.
    workload.tell("touch")?;
    push_out(&workload)?;
    let again = watch.same_set(pid, range, hold.pages() * 9 / 10)?;
    let second = watch
        .pages()?
        .iter()
        .filter(|page| page.process.tgid == pid)
        .count()
        - all;
    ensure!(
        second as u64 >= again,
        "{again} pages in swap, only {second} told the second time"
    );
    Outcome::passed(format!(
        "{pages} pages of the mapping, {all} of the process; {again} again after a touch; {:?}",
        watch.probes.totals()?
    ))
}

/// Three processes of one unit: one shares every page, one has copied some since the fork, one all.
fn forked(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(4);
    let (workload, pid, range) = workload(ctx, &hold)?;
    let some = hold.pages() / 3;
    let mut pids = vec![pid];
    for copied in [0, some, hold.pages()] {
        let child = workload.tell(&format!("fork {copied}"))?;
        pids.push(child.parse().context("a child's pid")?);
    }
    let mut watch = watch(true)?;
    push_out(&workload)?;
    let mut said = Vec::new();
    for pid in pids {
        said.push(watch.same_set(pid, range, hold.pages() * 9 / 10)?.to_string());
    }
    // A page that three processes map is one page in swap, told three times.
    Outcome::passed(format!(
        "pages told of parent and children: {}; {:?}",
        said.join(", "),
        watch.probes.totals()?
    ))
}

fn moved(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(8);
    let (workload, pid, before) = workload(ctx, &hold)?;
    let after: Range = workload.tell("move")?.parse()?;
    ensure!(after.start != before.start, "the mapping has not moved");
    let mut watch = watch(true)?;
    push_out(&workload)?;
    let pages = watch.same_set(pid, after, hold.pages() * 9 / 10)?;
    ensure!(
        watch.addresses(pid, before)?.is_empty(),
        "pages told where the mapping was before"
    );
    Outcome::passed(format!("{pages} pages at the new addresses"))
}

fn thp(ctx: &mut Ctx) -> Result<Outcome> {
    let setting = "/sys/kernel/mm/transparent_hugepage/enabled";
    ctx.set(setting, "madvise")?;
    ctx.swap_on_zram(128)?;
    let hold = Hold {
        kind: Kind::Thp,
        ..Hold::mib(16)
    };
    let (workload, pid, range) = workload(ctx, &hold)?;
    let before = crate::guest::vmstat::Vmstat::read()?;
    let mut watch = watch(true)?;
    push_out(&workload)?;
    let pages = watch.same_set(pid, range, hold.pages() * 9 / 10)?;
    let whole = crate::guest::vmstat::Vmstat::read()?.since(&before, "thp_swpout")?;
    if whole == 0 {
        return Outcome::skipped(format!(
            "no folio of 2 MiB was swapped out whole; the {pages} pages told are those in swap"
        ));
    }
    Outcome::passed(format!(
        "{pages} pages, {whole} folios of 2 MiB swapped out whole"
    ))
}

fn limit(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(16);
    let (workload, pid, range) = workload(ctx, &hold)?;
    let cgroup = workload.unit.cgroup()?;
    let mut watch = watch(true)?;
    cgroup.write("memory.max", &(6 << 20).to_string())?;
    let pages = watch.same_set(pid, range, hold.pages() / 2)?;
    let id = cgroup.id()?;
    for page in watch.pages()?.iter().filter(|page| page.process.tgid == pid) {
        ensure!(
            page.reclaimer.kind == ReclaimKind::Limit && page.reclaimer.cgroup_id == Some(id),
            "{page:?}"
        );
    }
    Outcome::passed(format!("{pages} pages by the unit's own limit"))
}

/// Somebody else needs the memory: kswapd takes the unit's.
fn kswapd(ctx: &mut Ctx) -> Result<Outcome> {
    const PRESSURE: &str = "pages-pressure.service";
    const ENOUGH: u64 = 256;
    ctx.short_of_memory(224 << 20)?;
    let hold = Hold::mib(32);
    let (_workload, pid, range) = workload(ctx, &hold)?;
    let mut watch = watch(true)?;
    ctx.wait("kswapd has pushed pages of the unit out", || {
        ctx.seize_memory(PRESSURE, 24)?;
        let pages = watch.pages()?.iter();
        let by_kswapd =
            pages.filter(|page| page.process.tgid == pid && page.reclaimer.kind == ReclaimKind::Kswapd);
        Ok((by_kswapd.count() as u64 >= ENOUGH).then_some(()))
    })?;
    // kswapd may be at the last of its work still: what is told and what is swapped must come to agree, but for
    // the programs that the kernel has skipped, which it counts.
    let mut seen = String::new();
    let pages = ctx
        .wait("the set told is the set in swap", || {
            let (out, missed, invented) = watch.compared(pid, range)?;
            let totals = watch.probes.totals()?;
            seen = format!("{out} pages in swap, {missed} missed, {invented} invented; {totals:?}");
            let skipped = totals.recursion_misses;
            Ok((missed + invented <= skipped).then_some(out))
        })
        .with_context(|| seen.clone())?;
    Outcome::passed(format!(
        "{pages} pages of the unit under global pressure; {:?}",
        watch.probes.totals()?
    ))
}

/// Three of every ten pages tagged: exactly those are hits.
fn tagged(ctx: &mut Ctx) -> Result<Outcome> {
    const RANGES: u32 = 1024;
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(40);
    let (workload, pid, range) = workload(ctx, &hold)?;
    let tags: Vec<TagRange> = (0..RANGES)
        .map(|index| TagRange {
            start: range.start + u64::from(index) * 10 * PAGE,
            pages: 3,
            label: index + 1,
        })
        .collect();
    let mut watch = watch(false)?;
    watch.probes.set_process_tags(pid, &tags, monotonic_ns())?;
    push_out(&workload)?;
    let hits = watch.probes.region_hits()?;
    let out = crate::guest::pagemap::swapped(pid, range)?;
    let mut expected = vec![0u64; tags.len()];
    for address in out {
        let page = (address - range.start) / PAGE;
        if page % 10 < 3
            && let Some(pages) = expected.get_mut(usize::try_from(page / 10)?)
        {
            *pages += 1;
        }
    }
    let mut sum = 0;
    for (label, pages) in &hits {
        let due = expected
            .get_mut(*label as usize - 1)
            .context("an unknown label")?;
        ensure!(pages == due, "{pages} pages for label {label}, {due} are in swap");
        sum += *pages;
        *due = 0;
    }
    ensure!(
        expected.iter().all(|pages| *pages == 0),
        "tagged pages in swap that were not counted"
    );
    ensure!(sum > u64::from(RANGES) * 2, "only {sum} tagged pages went out");
    let told = watch.pages()?;
    ensure!(
        told.iter().all(|page| page.exact && page.label.is_some()),
        "a record of an untagged page"
    );
    Outcome::passed(format!(
        "{sum} hits in {RANGES} ranges, as in swap; {} records; {:?}",
        told.len(),
        watch.probes.totals()?
    ))
}

/// What the two programs take for a page, beside what owner attribution takes for it: a ratio, since everything
/// is slow here.
fn cost(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(24);
    let (workload, pid, range) = workload(ctx, &hold)?;
    let _counting = enable_stats(Stats::RunTime)?;
    let (owners, _rings) = Probes::open(Options::default())?;
    let mut said = Vec::new();
    for (what, all, tagged) in [
        ("untagged", false, 0),
        ("among 1,024 ranges", false, 1024),
        ("a record each", true, 0),
    ] {
        let mut watch = watch(all)?;
        // Ranges beside the mapping, not in it: what is measured is the search.
        let tags: Vec<TagRange> = (0..tagged)
            .map(|index| TagRange {
                start: range.start + range.length + u64::from(index) * 2 * PAGE,
                pages: 1,
                label: index + 1,
            })
            .collect();
        watch.probes.set_process_tags(pid, &tags, monotonic_ns())?;
        let (mut owner, mut unmap, mut commit) = (u64::MAX, u64::MAX, u64::MAX);
        // The least of several rounds: in the first the emulator translates the programs.
        for _ in 0..4 {
            workload.tell("write")?;
            let (owner_before, before) = (owners.stats(), watch.probes.stats());
            push_out(&workload)?;
            let after = watch.probes.stats();
            owner = owner.min(per_page(&owner_before, &owners.stats(), "swap_out")?);
            unmap = unmap.min(per_page(&before, &after, "page_unmap")?);
            commit = commit.min(per_page(&before, &after, "page_commit")?);
            watch.pages()?;
        }
        said.push(format!(
            "{what}: {unmap} + {commit} ns, owner attribution {owner} ns ({:.1} times)",
            (unmap + commit) as f64 / owner as f64
        ));
    }
    for line in &said {
        ctx.measure("page level", line.clone())?;
    }
    Outcome::passed(said.join("; "))
}

/// Time and number of runs of the programs whose names begin so.
fn runs(stats: &[ProgramStats], name: &str) -> (u64, u64) {
    let of_name = stats.iter().filter(|program| program.name.starts_with(name));
    of_name.fold((0, 0), |(time, count), program| {
        (time + program.run_time_ns, count.max(program.run_count))
    })
}

/// Nanoseconds for each run between two readings.
fn per_page(before: &[ProgramStats], after: &[ProgramStats], name: &str) -> Result<u64> {
    let (before, after) = (runs(before, name), runs(after, name));
    let count = after.1 - before.1;
    ensure!(count > 1000, "{name} ran only {count} times");
    Ok((after.0 - before.0) / count)
}

/// Neither a forked child nor another program in the same process has its parent's tags; a dead process has none.
fn tags_end(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(2);
    let (workload, pid, range) = workload(ctx, &hold)?;
    let whole = [TagRange {
        start: range.start,
        pages: u32::try_from(hold.pages())?,
        label: 1,
    }];
    let mut watch = watch(false)?;
    watch.probes.set_process_tags(pid, &whole, monotonic_ns())?;
    let child: u32 = workload
        .tell(&format!("fork {}", hold.pages()))?
        .parse()
        .context("a child's pid")?;
    push_out(&workload)?;
    let hits = watch.probes.region_hits()?;
    let out = crate::guest::pagemap::swapped(pid, range)?.len() as u64;
    let out_of_child = crate::guest::pagemap::swapped(child, range)?.len();
    ensure!(
        hits.iter().map(|(_, pages)| pages).sum::<u64>() == out && out > 0 && out_of_child > 0,
        "{hits:?} of {out} pages, the child has {out_of_child} in swap"
    );
    // A shell that becomes another program keeps its process id and nothing else.
    let shell = ctx.transient_unit(
        "pages-exec.service",
        &["Type=exec"],
        &[
            "/bin/sh",
            "-c",
            "while [ ! -e /run/pages-go ]; do sleep 0.1; done; exec sleep 600",
        ],
    )?;
    let shell_pid = shell.main_pid()?;
    watch.probes.set_process_tags(shell_pid, &whole, monotonic_ns())?;
    ctx.write_file("/run/pages-go", "")?;
    ctx.wait("exec has ended the tags", || {
        Ok(watch
            .gone()?
            .iter()
            .any(|(tgid, _)| *tgid == shell_pid)
            .then_some(()))
    })?;
    workload.unit.kill("SIGKILL")?;
    ctx.wait("death has ended the tags", || {
        Ok(watch.gone()?.iter().any(|(tgid, _)| *tgid == pid).then_some(()))
    })?;
    Outcome::passed(format!(
        "{out} hits of the parent, none of the child's {out_of_child} pages; gone with exec and with the process"
    ))
}
