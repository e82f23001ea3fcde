//! Cgroups come, go and nest; what their pages are called does not depend on it.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memmon::attribute::UNKNOWN_UNIT;

use crate::guest::{
    Case, Ctx, Outcome, cgroup::Cgroup, stream::Stream, undo::Undo, units::Unit, workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "attribution.restart",
        run: restart,
        seconds: 90,
    },
    Case {
        name: "attribution.removed",
        run: removed,
        seconds: 120,
    },
    Case {
        name: "attribution.nested",
        run: nested,
        seconds: 90,
    },
    Case {
        name: "attribution.scope-and-template",
        run: scope_and_template,
        seconds: 120,
    },
];

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
/// What has to go out at least of 8 MiB that are to go out.
const MANY: u64 = 1536;

/// A unit that starts again has a new cgroup and goes on being the same unit.
fn restart(ctx: &mut Ctx) -> Result<Outcome> {
    const UNIT: &str = "attr-again.service";
    ctx.swap_on_zram(64)?;
    let trace = ctx.trace(&[])?;
    let hold = Hold::mib(8);
    let workload = ctx.workload(UNIT, &hold)?;
    let mut lives = Vec::new();
    for life in 0..3 {
        if life > 0 {
            workload.unit.restart()?;
        }
        let cgroup = workload.unit.cgroup()?;
        cgroup.reclaim(hold.mib << 20)?;
        lives.push((cgroup.id()?, cgroup.number("memory.swap.current")? / PAGE));
    }
    let stream = trace.finish(ctx)?;
    stream.complete()?;
    let mut pages: BTreeMap<u64, u64> = BTreeMap::new();
    for line in stream.of(UNIT) {
        *pages.entry(line.cgroup_id).or_default() += line.pages;
    }
    let expected: BTreeMap<u64, u64> = lives.iter().copied().collect();
    ensure!(expected.len() == 3, "a cgroup id was used again: {lives:?}");
    ensure!(
        pages == expected && pages.values().all(|&pages| pages >= MANY),
        "pages by cgroup id {pages:?}, in swap {expected:?}"
    );
    Outcome::passed(format!(
        "{} pages of one unit in three lives: {expected:?}",
        stream.pages(UNIT)
    ))
}

/// A unit fills a file in memory and ends: pages that go out later have no cgroup of their own any more.
fn removed(ctx: &mut Ctx) -> Result<Outcome> {
    const UNIT: &str = "attr-gone.service";
    const SLICE: &str = "attribution.slice";
    const FILE: &str = "/dev/shm/memmon-attribution";
    ctx.swap_on_zram(64)?;
    let slice = ctx.unit_file(SLICE, "[Slice]\nMemoryAccounting=yes\n")?;
    slice.start()?;
    let trace = ctx.trace(&[])?;
    ctx.undo().note(&Undo::Remove(FILE.into()))?;
    let hold = Hold {
        service: &format!(
            "Slice={SLICE}\nExecStartPre=/bin/dd if=/dev/urandom of={FILE} bs=1M count=8 status=none"
        ),
        ..Hold::mib(1)
    };
    let unit = ctx.workload(UNIT, &hold)?.unit;
    let cgroup = unit.cgroup()?;
    let id = cgroup.id()?;
    cgroup.reclaim(4 * MIB)?;
    let before = cgroup.number("memory.swap.current")? / PAGE;
    unit.stop()?;
    ctx.wait("the unit's cgroup is removed", || {
        Ok((!cgroup.path().exists()).then_some(()))
    })?;
    let late = ctx.trace(&[])?;
    let parent = slice.cgroup()?;
    let swapped = || parent.number("memory.swap.current");
    let left = swapped()?;
    parent.reclaim(8 * MIB)?;
    let after = (swapped()? - left) / PAGE;
    let stream = trace.finish(ctx)?;
    stream.complete()?;
    let late = late.finish(ctx)?;
    late.complete()?;
    // Where the pages of a removed cgroup are: with its ghost, or, from 7.1, with what was its parent.
    let heir = if kernel_at_least(7, 1)? {
        (parent.id()?, SLICE)
    } else {
        (id, UNIT)
    };
    let mut pages: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for line in stream
        .lines
        .iter()
        .filter(|line| [UNIT, SLICE].contains(&line.unit.as_str()))
    {
        *pages.entry((line.cgroup_id, line.unit.as_str())).or_default() += line.pages;
    }
    let mut expected = BTreeMap::from([((id, UNIT), before)]);
    *expected.entry(heir).or_default() += after;
    ensure!(
        before >= MANY / 2 && after >= MANY / 2,
        "only {before} pages went out before and {after} after"
    );
    ensure!(pages == expected, "{pages:?}, but in swap {expected:?}");
    // A trace that began when the unit was gone cannot know its name, and makes none up.
    let name = if heir.1 == UNIT { UNKNOWN_UNIT } else { heir.1 };
    let known = late.lines.iter().filter(|line| line.cgroup_id == heir.0);
    let mut of_heir = 0;
    for line in known {
        ensure!(line.unit == name, "expected {name}: {line:?}");
        of_heir += line.pages;
    }
    ensure!(
        of_heir == after && late.pages(UNIT) == 0,
        "{of_heir} pages of {name} in the later trace, {after} in swap: {:?}",
        late.blame()
    );
    Outcome::passed(format!(
        "{before} pages of {UNIT} before, {after} of {} after it was removed",
        heir.1
    ))
}

/// Below a unit that systemd has delegated the tree to, names mean nothing: it is all that unit.
fn nested(ctx: &mut Ctx) -> Result<Outcome> {
    const UNIT: &str = "attr-nested.service";
    ctx.swap_on_zram(64)?;
    let hold = Hold {
        service: "Delegate=yes",
        ..Hold::mib(8)
    };
    let workload = ctx.workload(UNIT, &hold)?;
    let outer = workload.unit.cgroup()?;
    let leaf = outer.child("leaf");
    fs::create_dir(leaf.path()).context("making a cgroup")?;
    leaf.write("cgroup.procs", &workload.unit.main_pid()?.to_string())?;
    outer.write("cgroup.subtree_control", "+memory")?;
    let trace = ctx.trace(&[])?;
    // As a user's manager has them: slices and services that are none of the system manager's.
    let slice = outer.child("app.slice");
    fs::create_dir(slice.path()).context("making a cgroup")?;
    slice.write("cgroup.subtree_control", "+memory")?;
    let inner = slice.child("attr-other.service");
    fs::create_dir(inner.path()).context("making a cgroup")?;
    // A child starts in its parent's cgroup, and what it writes is charged there.
    inner.write("cgroup.procs", &workload.unit.main_pid()?.to_string())?;
    workload.tell("fork 1024")?;
    outer.reclaim(12 * MIB)?;
    let stream = trace.finish(ctx)?;
    stream.complete()?;
    let swap = outer.number("memory.swap.current")? / PAGE;
    let pages = stream.only_kind(UNIT, "proactive")?;
    ensure!(
        stream.pages("attr-other.service") + stream.pages("app.slice") == 0,
        "a cgroup's name was taken for a unit: {:?}",
        stream.blame()
    );
    let of_inner = pages_of(&stream, &inner)?;
    let inner_swap = inner.number("memory.swap.current")? / PAGE;
    ensure!(
        pages == swap && of_inner == inner_swap,
        "{pages} pages of the unit, {of_inner} of the cgroup below; in swap {swap} and {inner_swap}"
    );
    ensure!(
        of_inner >= 512,
        "only {of_inner} pages of the cgroup below went out"
    );
    Outcome::passed(format!(
        "{pages} pages of {UNIT}, {of_inner} of them of {}, as in swap",
        name_of(&inner)
    ))
}

/// A login session's scope in a user's slice, and two instances of a template.
fn scope_and_template(ctx: &mut Ctx) -> Result<Outcome> {
    const SCOPE: &str = "session-c77.scope";
    const SLICE: &str = "user-1000.slice";
    ctx.swap_on_zram(64)?;
    let trace = ctx.trace(&[])?;
    ctx.undo().note(&Undo::StopUnit(SLICE.to_owned()))?;
    ctx.undo().note(&Undo::StopUnit(SCOPE.to_owned()))?;
    let unit_option = format!("--unit={SCOPE}");
    let slice_option = format!("--slice={SLICE}");
    // It lives until its input ends: with this case at the latest.
    let mut session = Command::new("systemd-run")
        .args(["--quiet", "--scope", &unit_option, &slice_option])
        .args(["memmon-workload", "hold", "--mib=8"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting systemd-run")?;
    read_ready(&mut session)?;
    let template = ctx.workload_file("attr-many@.service", &Hold::mib(8))?;
    let units = [
        Unit::named(SCOPE),
        ctx.instance(&template.unit, "one")?,
        ctx.instance(&template.unit, "two")?,
    ];
    units[1].start()?;
    units[2].start()?;
    let mut said = Vec::new();
    let mut expected = Vec::new();
    for unit in &units {
        let cgroup = unit.cgroup()?;
        cgroup.reclaim(8 * MIB)?;
        expected.push((unit.name(), cgroup.number("memory.swap.current")? / PAGE, cgroup));
    }
    let stream = trace.finish(ctx)?;
    stream.complete()?;
    for (unit, swap, cgroup) in &expected {
        let pages = stream.only_kind(unit, "proactive")?;
        ensure!(
            pages == *swap && pages == pages_of(&stream, cgroup)?,
            "{pages} pages of {unit}, {swap} in swap"
        );
        ensure!(pages >= MANY, "only {pages} pages of {unit} went out");
        said.push(format!("{unit} {pages}"));
    }
    let path = name_of(&expected[0].2);
    ensure!(
        path == format!("/user.slice/{SLICE}/{SCOPE}"),
        "the scope is at {path}"
    );
    drop(session.stdin.take());
    session.wait().context("waiting for the session")?;
    Outcome::passed(format!("{}, as in swap", said.join(", ")))
}

/// Waits for the word "ready" on a process's output.
fn read_ready(child: &mut std::process::Child) -> Result<()> {
    use std::io::{BufRead as _, BufReader};
    let output = child.stdout.as_mut().context("no pipe")?;
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .context("reading what the session says")?;
    ensure!(line.trim() == "ready", "the session said {line:?}");
    Ok(())
}

/// The cgroup as the trace calls it.
fn name_of(cgroup: &Cgroup) -> String {
    let path = cgroup.path().to_string_lossy();
    path.trim_start_matches(crate::guest::cgroup::ROOT).to_owned()
}

/// Pages of one cgroup, by its id, every line of which also bears its path.
fn pages_of(stream: &Stream, cgroup: &Cgroup) -> Result<u64> {
    let (id, path) = (cgroup.id()?, name_of(cgroup));
    let mut pages = 0;
    for line in stream.lines.iter().filter(|line| line.cgroup_id == id) {
        ensure!(line.cgroup.as_deref() == Some(&path), "expected {path}: {line:?}");
        pages += line.pages;
    }
    Ok(pages)
}

/// Whether the running kernel's version is that or a later one.
fn kernel_at_least(major: u32, minor: u32) -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading osrelease")?;
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse::<u32>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    Ok(version.with_context(|| format!("osrelease {release}"))? >= (major, minor))
}
