//! `memmon trace` on the wire: what it prints, when it ends, and with which code.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    context::Context,
    tracer::{NOBODY, Stream, Tracer, number},
};
use crate::{
    case::{Case, Outcome},
    pass,
};

pub(super) const CASES: &[Case<Context>] = &[
    Case {
        name: "wire-everything",
        run: everything,
    },
    Case {
        name: "wire-unit",
        run: unit,
    },
    Case {
        name: "wire-unit-to-come",
        run: unit_to_come,
    },
    Case {
        name: "wire-count",
        run: count,
    },
    Case {
        name: "wire-duration",
        run: duration,
    },
    Case {
        name: "wire-duration-in-storm",
        run: duration_in_storm,
    },
    Case {
        name: "wire-quiet",
        run: quiet,
    },
    Case {
        name: "wire-human",
        run: human,
    },
    Case {
        name: "wire-start-while-swapping",
        run: start_while_swapping,
    },
    Case {
        name: "wire-unprivileged",
        run: unprivileged,
    },
];

const PAGES: u64 = 1024;

fn everything(context: &mut Context) -> Result<Outcome> {
    let owners = [context.cgroup("one")?, context.cgroup("two")?];
    let tracer = Tracer::watching(context, &[])?;
    let mut workloads = Vec::new();
    for owner in &owners {
        let (mut workload, region) = context.filled(owner, PAGES)?;
        workload.tell_on("storm", region, "4")?;
        workloads.push(workload);
    }
    for workload in &mut workloads {
        workload.answer()?;
    }
    let stream = tracer.finish()?;
    let written = stream.complete()?;
    stream.conforms()?;
    for owner in &owners {
        let pages = stream.pages_named(owner.id, &owner.path)?;
        ensure!(pages >= PAGES, "only {pages} pages of {}", owner.path);
    }
    let page = stream.lines.iter().find(|line| !line["page"].is_null());
    ensure!(page.is_none(), "a page although none was asked for: {page:?}");
    pass!("{} lines for {written} pages, none missing", stream.lines.len())
}

fn unit(context: &mut Context) -> Result<Outcome> {
    let (wanted, other) = (
        context.cgroup("wanted.service")?,
        context.cgroup("other.service")?,
    );
    let name = wanted.path.trim_start_matches('/').to_owned();
    let mut tracer = Tracer::start(context, &["--json", "--unit", &name, "--unit", NOBODY])?;
    tracer.hear("the trace looks for units", |said| {
        said.err.iter().any(|line| line.contains(NOBODY))
    })?;
    ensure!(
        !tracer.said.err.iter().any(|line| line.contains(&name)),
        "the unit is there, but the trace said {:?}",
        tracer.said.err
    );
    let mut shown = context.workload(&wanted)?;
    let mut hidden = context.workload(&other)?;
    shown.fill_and_page_out("anon", PAGES)?;
    hidden.fill_and_page_out("anon", PAGES)?;
    shown.fill_and_page_out("anon", PAGES)?;
    let stream = tracer.finish()?;
    let written = stream.balanced()?;
    let shown_pages = number(&stream.end, "/shown_pages")?;
    ensure!(
        shown_pages == 2 * PAGES,
        "{shown_pages} pages shown of {}",
        2 * PAGES
    );
    ensure!(
        stream.lines.iter().all(|line| line["unit"] == name.as_str()),
        "a line of another unit"
    );
    ensure!(
        written >= 3 * PAGES,
        "the end leaves out what was not shown: {}",
        stream.end
    );
    pass!("{shown_pages} of {written} pages shown")
}

fn unit_to_come(context: &mut Context) -> Result<Outcome> {
    let name = context.name("late.service");
    let glob = name.replace("late", "l?te");
    let mut tracer = Tracer::start(context, &["--json", "--unit", &glob])?;
    tracer.hear("the trace says that nothing matches", |said| {
        said.err.iter().any(|line| line.contains(&glob))
    })?;
    let cgroup = crate::host::cgroup::Cgroup::create(&context.tree, &name)?;
    let mut workload = context.workload(&cgroup)?;
    workload.fill_and_page_out("anon", PAGES)?;
    let stream = tracer.finish()?;
    stream.balanced()?;
    let pages = stream.pages_named(cgroup.id, &cgroup.path)?;
    ensure!(
        pages == PAGES,
        "{pages} of {PAGES} pages of the unit that came later"
    );
    pass!("said so on standard error, then showed {pages} pages of a unit that came later")
}

fn count(context: &mut Context) -> Result<Outcome> {
    let cgroup = context.cgroup("count")?;
    let mut workload = context.workload(&cgroup)?;
    let mut tracer = Tracer::start(context, &["--json", "--pages", "--count", "3"])?;
    tracer.nudge(&mut workload, |said| {
        said.out.iter().any(|line| line.contains("memmon.trace_end/1"))
    })?;
    let (status, said) = tracer.ended()?;
    ensure!(status.success(), "{status}: {:?}", said.err);
    let stream = Stream::parse(&said.out)?;
    ensure!(
        stream.lines.len() == 3,
        "{} lines after --count 3",
        stream.lines.len()
    );
    ensure!(
        number(&stream.end, "/shown_pages")? == Stream::pages(stream.lines.iter())?,
        "shown pages and lines differ: {}",
        stream.end
    );
    pass!("3 lines and the end")
}

fn duration(context: &mut Context) -> Result<Outcome> {
    let start = Instant::now();
    let tracer = Tracer::start(context, &["--json", "--duration", "1500ms"])?;
    let (status, said) = tracer.ended()?;
    let took = start.elapsed();
    ensure!(status.success(), "{status}: {:?}", said.err);
    let stream = Stream::parse(&said.out)?;
    ensure!(
        took >= Duration::from_millis(1500),
        "ended after {took:?}: {}",
        stream.end
    );
    ensure!(took < Duration::from_secs(15), "took {took:?}");
    pass!("ended by itself after {took:?}")
}

/// The ring may never be empty, and the end must come all the same.
fn duration_in_storm(context: &mut Context) -> Result<Outcome> {
    let cgroup = context.cgroup("storm")?;
    let mut busy = Vec::new();
    for _ in 0..std::thread::available_parallelism()?.get() {
        let (mut workload, region) = context.filled(&cgroup, 32 * PAGES)?;
        // Longer than anybody waits: the workloads die with this case.
        workload.tell_on("storm", region, "100000")?;
        busy.push(workload);
    }
    let start = Instant::now();
    let tracer = Tracer::start(context, &["--json", "--duration", "2"])?;
    let (status, said) = tracer.ended()?;
    let took = start.elapsed();
    ensure!(status.success(), "{status}: {:?}", said.err);
    let stream = Stream::parse(&said.out)?;
    let (shown, pages, lost) = (
        number(&stream.end, "/shown_pages")?,
        number(&stream.end, "/pages")?,
        number(&stream.end, "/lost_events")?,
    );
    ensure!(pages > 0, "no storm: {}", stream.end);
    // Attaching and reading wait for processors that the storm has: this is about ending at all.
    ensure!(took < Duration::from_secs(45), "took {took:?}");
    ensure!(shown <= pages, "more shown than counted: {}", stream.end);
    pass!("ended after {took:?}: {pages} pages, {shown} shown, {lost} records lost")
}

fn quiet(context: &mut Context) -> Result<Outcome> {
    let stream = Tracer::watching(context, &[])?.finish()?;
    let pages = Stream::pages(stream.lines.iter())?;
    ensure!(
        pages == number(&stream.end, "/shown_pages")?,
        "shown pages and lines differ: {}",
        stream.end
    );
    pass!("interrupted: the end comes all the same, with {pages} pages")
}

fn human(context: &mut Context) -> Result<Outcome> {
    let cgroup = context.cgroup("human.service")?;
    let mut tracer = Tracer::start(context, &["--unit", "*", "--unit", NOBODY])?;
    tracer.hear("the trace looks for units", |said| {
        said.err.iter().any(|line| line.contains(NOBODY))
    })?;
    let mut workload = context.workload(&cgroup)?;
    workload.fill_and_page_out("anon", PAGES)?;
    tracer.interrupt()?;
    let (status, said) = tracer.ended()?;
    ensure!(status.success(), "{status}: {:?}", said.err);
    let name = cgroup.path.trim_start_matches('/');
    let mut lines = said.out.iter();
    let header = lines.next().context("no output")?;
    ensure!(
        header.contains("PAGES") && header.contains("UNIT"),
        "no header: {header}"
    );
    let mut pages = 0;
    for line in lines {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [_, count, priority, unit, kind, ..] = *words
            && unit == name
        {
            ensure!(
                (priority, kind) == ("observe", "madvise"),
                "expected observe and madvise: {line}"
            );
            pages += count.parse::<u64>().with_context(|| line.clone())?;
        }
    }
    ensure!(
        pages == PAGES,
        "lines of {pages} pages for {PAGES}: {:?}",
        said.out
    );
    let summary = said.out.iter().find(|line| line.contains("nr_vmscan_write"));
    let summary = summary.with_context(|| format!("no summary: {:?}", said.out))?;
    let numbers: Vec<u64> = summary
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    // Pages swapped out, shown, file pages; nr_vmscan_write …
    ensure!(
        matches!(*numbers, [out, _, file, written, ..] if out + file == written && out >= PAGES),
        "the summary does not add up: {summary}"
    );
    pass!("{pages} pages in lines; {summary}")
}

/// Whatever went out before the trace began to count must not be shown as if it had been counted.
fn start_while_swapping(context: &mut Context) -> Result<Outcome> {
    let cgroup = context.cgroup("busy")?;
    let mut workload = context.workload(&cgroup)?;
    let mut tracer = Tracer::start(context, &["--json"])?;
    tracer.nudge(&mut workload, |said| !said.out.is_empty())?;
    workload.fill_and_page_out("anon", PAGES)?;
    let stream = tracer.finish()?;
    let written = stream.complete()?;
    pass!("{written} pages counted and shown")
}

fn unprivileged(context: &mut Context) -> Result<Outcome> {
    const NOBODY_ID: u32 = 65534;
    const NO_PERMISSION: i32 = 4;
    // The build directory need not be open to everybody.
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let memmon = dir.path().join("memmon");
    fs::copy(&context.memmon, &memmon)?;
    let output = Command::new(&memmon)
        .args(["trace", "--json", "--duration", "1"])
        .current_dir("/")
        .uid(NOBODY_ID)
        .gid(NOBODY_ID)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(NO_PERMISSION),
        "{}: {said}",
        output.status
    );
    ensure!(said.contains("CAP_BPF"), "no capability named: {said}");
    ensure!(output.stdout.is_empty(), "output all the same");
    pass!("exit {NO_PERMISSION}: {}", said.trim())
}
