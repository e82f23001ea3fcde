//! Two units are swapped at once, by somebody: every page has its owner, and the right culprit.

use std::{collections::BTreeMap, thread};

use anyhow::{Context as _, Result, ensure};

use crate::guest::{
    Case, Ctx, Outcome,
    cgroup::Cgroup,
    memory_stat, pagemap, shell,
    stream::Stream,
    undo::Undo,
    workload::{Hold, Workload},
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "attribution.limit",
        run: limit,
        seconds: 180,
    },
    Case {
        name: "attribution.global-pressure",
        run: global_pressure,
        seconds: 240,
    },
    Case {
        name: "attribution.memory-reclaim",
        run: memory_reclaim,
        seconds: 120,
    },
    Case {
        name: "attribution.process-madvise",
        run: process_madvise,
        seconds: 120,
    },
];

const PAGE: u64 = 4096;

/// Limits push out what goes beyond them: of a unit (`max` and `high`), or of a slice, whose units then
/// suffer for each other. The culprit is the cgroup whose limit it is.
fn limit(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    ctx.unit_file("attribution.slice", "[Slice]\nMemoryMax=24M\n")?;
    let hold = |service| Hold {
        service,
        ..Hold::mib(20)
    };
    let units = [
        (
            ctx.workload_file("attr-max.service", &hold("MemoryMax=12M"))?,
            "attr-max.service",
        ),
        (
            ctx.workload_file("attr-high.service", &hold("MemoryHigh=12M"))?,
            "attr-high.service",
        ),
        (
            ctx.workload_file("attr-in1.service", &hold("Slice=attribution.slice"))?,
            "attribution.slice",
        ),
        (
            ctx.workload_file("attr-in2.service", &hold("Slice=attribution.slice"))?,
            "attribution.slice",
        ),
    ];
    let workloads: Vec<&Workload> = units.iter().map(|(workload, _)| workload).collect();
    let trace = ctx.trace(&[])?;
    start_all(&workloads)?;
    all_tell(&workloads, "write")?;
    let stream = trace.finish(ctx)?;
    let written = stream.complete()?;
    let mut said = Vec::new();
    for (workload, culprit) in &units {
        let unit = workload.unit.name();
        let pages = stream.only(unit, "limit", culprit)?;
        // It filled 20 MiB and wrote them again, with room for 12.
        ensure!(pages >= (8 << 20) / PAGE, "only {pages} pages of {unit} went out");
        said.push(format!("{unit} {pages}"));
    }
    stream.at_once(&names(&workloads))?;
    let compared = memory_stat_agrees(ctx, &stream, &workloads)?;
    Outcome::passed(format!("{} of {written} pages; {compared}", said.join(", ")))
}

/// A third unit needs the whole machine: kswapd and that unit's direct reclaim push the two out.
fn global_pressure(ctx: &mut Ctx) -> Result<Outcome> {
    const PRESSURE: &str = "attr-pressure.service";
    const ENOUGH: u64 = 256;
    ctx.short_of_memory(224 << 20)?;
    let hold = Hold::mib(32);
    let one = ctx.workload("attr-one.service", &hold)?;
    let two = ctx.workload("attr-two.service", &hold)?;
    let victims = [&one, &two];
    let mut trace = ctx.trace(&[])?;
    let (mut by_kswapd, mut direct) = ([0; 2], [0; 2]);
    let mut slowed = false;
    let seen = ctx.wait(
        "both units are pushed out by kswapd and by the third unit",
        || {
            ctx.seize_memory(PRESSURE, 24)?;
            (by_kswapd, direct) = ([0; 2], [0; 2]);
            for line in &trace.so_far()?.lines {
                let Some(victim) = victims.iter().position(|victim| victim.unit.name() == line.unit) else {
                    continue;
                };
                match (line.reclaimer.kind.as_str(), line.reclaimer.unit.as_deref()) {
                    ("kswapd", None) => by_kswapd[victim] += line.pages,
                    ("direct", Some(PRESSURE)) => direct[victim] += line.pages,
                    _ => {}
                }
            }
            let enough = |pages: [u64; 2]| pages.iter().all(|&pages| pages >= ENOUGH);
            if enough(by_kswapd) && enough(direct) {
                return Ok(Some(()));
            }
            if enough(by_kswapd) && !slowed {
                ctx.slow_kswapd()?;
                slowed = true;
            }
            for victim in victims {
                // Back in, for the next round.
                victim.tell("touch")?;
            }
            Ok(None)
        },
    );
    seen.with_context(|| format!("{by_kswapd:?} pages by kswapd, {direct:?} by direct reclaim"))?;
    let mut pids: BTreeMap<u32, &str> = BTreeMap::new();
    for victim in victims {
        pids.insert(victim.unit.main_pid()?, victim.unit.name());
    }
    let stream = trace.finish_counted(ctx)?;
    let (written, dropped) = (stream.complete()?, stream.counted()?.1);
    let mut by_others = 0;
    for line in &stream.lines {
        let by = &line.reclaimer;
        match by.kind.as_str() {
            "kswapd" => ensure!(
                by.unit.is_none() && by.comm.starts_with("kswapd"),
                "kswapd is in no unit: {line:?}"
            ),
            "direct" => {
                // What is not one of the two, and bears that name, has taken the memory.
                let taker = (by.comm == "memmon-workload").then_some(PRESSURE);
                let expected = pids.get(&by.pid).copied().or(taker);
                let others =
                    expected.is_none() && !pids.values().any(|unit| by.unit.as_deref() == Some(unit));
                ensure!(
                    others || by.unit.as_deref() == expected,
                    "not by {expected:?}: {line:?}"
                );
                if others {
                    by_others += line.pages;
                }
            }
            other => anyhow::bail!("{other} under global pressure: {line:?}"),
        }
    }
    let mut said = Vec::new();
    let blame = stream.blame();
    for unit in names(&victims) {
        let of = |kind: &str| -> u64 {
            let same = blame
                .iter()
                .filter(|((owner, k, _), _)| owner == unit && k == kind);
            same.map(|(_, pages)| pages).sum()
        };
        said.push(format!(
            "{unit} {} by kswapd, {} direct",
            of("kswapd"),
            of("direct")
        ));
    }
    stream.at_once(&names(&victims))?;
    let compared = memory_stat_agrees(ctx, &stream, &victims)?;
    Outcome::passed(format!(
        "{}; {by_others} by third parties; {written} pages, {dropped} of them dropped; {compared}",
        said.join("; ")
    ))
}

/// A root shell in a session of its own writes memory.reclaim of both units.
fn memory_reclaim(ctx: &mut Ctx) -> Result<Outcome> {
    const SHELL: &str = "attr-shell.scope";
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(16);
    let one = ctx.workload("attr-one.service", &hold)?;
    let two = ctx.workload("attr-two.service", &hold)?;
    let victims = [&one, &two];
    let trace = ctx.trace(&[])?;
    // The kernel may take less than asked for and say EAGAIN.
    let script = format!(
        "echo 16M > {}/memory.reclaim & echo 16M > {}/memory.reclaim & wait",
        one.unit.cgroup()?.path().display(),
        two.unit.cgroup()?.path().display()
    );
    ctx.undo().note(&Undo::StopUnit(SHELL.to_owned()))?;
    let scope = format!("--unit={SHELL}");
    shell::run(
        "systemd-run",
        &["--quiet", "--scope", &scope, "sh", "-c", &script],
    )?;
    let stream = trace.finish(ctx)?;
    pushed_out(ctx, &stream, &victims, "proactive", SHELL)
}

/// A process of a third unit pages both units out.
fn process_madvise(ctx: &mut Ctx) -> Result<Outcome> {
    const CALLER: &str = "attr-caller.service";
    ctx.swap_on_zram(128)?;
    let hold = Hold::mib(16);
    let one = ctx.workload("attr-one.service", &hold)?;
    let two = ctx.workload("attr-two.service", &hold)?;
    let victims = [&one, &two];
    let trace = ctx.trace(&[])?;
    let mut script = String::new();
    for victim in victims {
        let (pid, range) = (victim.unit.main_pid()?, victim.range()?);
        script += &format!("memmon-workload pageout --pid={pid} --range={range} & ");
    }
    script += "wait";
    ctx.transient_unit(CALLER, &["Type=oneshot"], &["/bin/sh", "-c", &script])?;
    let stream = trace.finish(ctx)?;
    for victim in victims {
        let (unit, pid) = (victim.unit.name(), victim.unit.main_pid()?);
        let pages = stream.pages(unit);
        let swapped = pagemap::swapped(pid, victim.range()?)?.len() as u64;
        ensure!(
            pages == swapped,
            "{pages} pages of {unit}, but {swapped} are swapped in its page table"
        );
    }
    pushed_out(ctx, &stream, &victims, "madvise", CALLER)
}

/// Both victims, who have been idle since, lost pages to that culprit only, and as many as the kernel says.
fn pushed_out(
    ctx: &Ctx,
    stream: &Stream,
    victims: &[&Workload],
    kind: &str,
    culprit: &str,
) -> Result<Outcome> {
    let written = stream.complete()?;
    let mut said = Vec::new();
    for victim in victims {
        let unit = victim.unit.name();
        let pages = stream.only(unit, kind, culprit)?;
        let swap = victim.unit.cgroup()?.number("memory.swap.current")? / PAGE;
        ensure!(
            pages == swap,
            "{pages} pages of {unit} went out, but it has {swap} in swap"
        );
        ensure!(
            pages >= Hold::mib(16).pages() / 2,
            "only {pages} pages of {unit} went out"
        );
        said.push(format!("{unit} {pages}"));
    }
    ensure!(
        stream.pages(culprit) == 0,
        "pages of the culprit, who has lost none: {:?}",
        stream.blame()
    );
    stream.at_once(&names(victims))?;
    let compared = memory_stat_agrees(ctx, stream, victims)?;
    Outcome::passed(format!(
        "{} of {written} pages, as in swap; {compared}",
        said.join(", ")
    ))
}

fn names<'a>(workloads: &[&'a Workload]) -> Vec<&'a str> {
    workloads.iter().map(|workload| workload.unit.name()).collect()
}

/// Starts units side by side and waits until all are up.
fn start_all(workloads: &[&Workload]) -> Result<()> {
    let mut args = vec!["start"];
    args.extend(names(workloads));
    shell::run("systemctl", &args).map(drop)
}

/// Tells all of them the same, at once, and waits for their answers.
fn all_tell(workloads: &[&Workload], command: &str) -> Result<()> {
    thread::scope(|scope| {
        let told: Vec<_> = workloads
            .iter()
            .map(|workload| scope.spawn(|| workload.tell(command)))
            .collect();
        for answer in told {
            answer.join().ok().context("a thread panicked")??;
        }
        Ok(())
    })
}

/// The unit's own counters (from 6.13) say what the trace says; in words.
fn memory_stat_agrees(ctx: &Ctx, stream: &Stream, workloads: &[&Workload]) -> Result<String> {
    let mut cgroups: BTreeMap<&str, Cgroup> = BTreeMap::new();
    for workload in workloads {
        cgroups.insert(workload.unit.name(), workload.unit.cgroup()?);
    }
    let all: Vec<&Cgroup> = cgroups.values().collect();
    let Some(written) = memory_stat::swapped_out(&all, ctx.deadline())? else {
        return Ok("no pswpout in memory.stat".to_owned());
    };
    for (unit, counted) in cgroups.keys().zip(&written) {
        let pages = stream.pages(unit);
        ensure!(
            pages == *counted,
            "{pages} pages of {unit} in the trace, {counted} in its memory.stat"
        );
    }
    Ok("as in memory.stat".to_owned())
}
