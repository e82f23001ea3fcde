//! Tagged regions: hit, told, protected, brought back; and whoever tries to misuse them.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use memmon::export::journal::Message;
use serde_json::Value;

use crate::{
    guest::{
        Case, Ctx, Outcome,
        agent::{Agent, Setup, SwapLimit, as_user, call, leases_of, push_out, report, wait_on_bus},
        pagemap,
        units::Unit,
        workload::{Hold, Workload},
    },
    workload::Range,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "tags.hit-and-back",
        run: hit_and_back,
        seconds: 240,
    },
    Case {
        name: "tags.trace",
        run: traced,
        seconds: 180,
    },
    Case {
        name: "tags.no-headroom",
        run: no_headroom,
        seconds: 180,
    },
    Case {
        name: "tags.below-medium",
        run: below_medium,
        seconds: 180,
    },
    Case {
        name: "tags.many-ranges",
        run: many_ranges,
        seconds: 300,
    },
    Case {
        name: "tags.ends",
        run: ends,
        seconds: 240,
    },
    Case {
        name: "tags.ends-between",
        run: ends_between,
        seconds: 240,
    },
    Case {
        name: "tags.misuse",
        run: misuse,
        seconds: 240,
    },
];

const NOBODY: u32 = 65_534;
const UNIT: &str = "tagged.service";

/// A setup in which the unit has a priority below critical.
fn agent(ctx: &Ctx, priority: &str) -> Result<Agent> {
    let setup = Setup {
        service: Setup::EVERY_SECOND,
        ..Setup::default()
    };
    let agent = ctx.agent_installed(&setup)?;
    ctx.agent_config(&format!("{}\"{UNIT}\" = \"{priority}\"\n", setup.config()))?;
    agent.unit.start()?;
    wait_on_bus(ctx)?;
    Ok(agent)
}

fn part(workload: &Workload, first: u64, pages: u64) -> Result<Range> {
    Ok(Range {
        start: workload.range()?.start + first * 4096,
        length: pages * 4096,
    })
}

fn region(label: &str) -> Result<Option<Value>> {
    let seen = report()?;
    let mut regions = seen["regions"].as_array().into_iter().flatten();
    Ok(regions.find(|region| region["label"] == label).cloned())
}

/// A tagged page of a medium unit is swapped: alarm with the label, limit, and the pages are back in RAM.
fn hit_and_back(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload(UNIT, &Hold::mib(16))?;
    let unit = &workload.unit;
    let agent = agent(ctx, "medium")?;
    let (first, pages) = (100, 1024);
    workload.tell(&format!("tag {first} {pages} embeddings"))?;
    let tagged = part(&workload, first, pages)?;
    let before = region("embeddings")?.context("the region is not in the report")?;
    ensure!(before["pages"] == pages && before["unit"] == UNIT, "{before}");
    push_out(&unit.cgroup()?)?;
    let pid = unit.main_pid()?;
    let alarm = agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    ctx.say(&format!("journal: {}", alarm.text()))?;
    alarm.require(&[
        ("MEMMON_REGION", "embeddings"),
        ("MEMMON_PRIORITY", "medium"),
        ("MEMMON_PID", &pid.to_string()),
    ])?;
    ctx.wait_tightened(unit)?;
    agent.measure_reactions(ctx, "tagged region")?;
    let back = agent.told(ctx, Message::BroughtBack, unit.name(), |entry| {
        entry.field("MEMMON_PAGES_OUT") == Some("0")
    })?;
    ctx.say(&format!("journal: {}", back.text()))?;
    ensure!(back.number("MEMMON_PAGES")? > 0, "no page was brought back");
    ctx.wait("every tagged page is in RAM", || {
        Ok(pagemap::swapped(pid, tagged)?.is_empty().then_some(()))
    })?;
    let out = pagemap::swapped(pid, workload.range()?)?.len();
    ensure!(out > 0, "pages that are not tagged were brought back as well");
    let seen = region("embeddings")?.context("the region is not in the report")?;
    ensure!(seen["swapout_pages"].as_u64() > Some(0), "{seen}");
    ensure!(seen["bring_back"]["still_out_pages"] == 0, "{seen}");
    ensure!(
        workload.tell("verify")?.parse::<u64>()? == 4096,
        "content was lost"
    );
    workload.unit.stop()?;
    ctx.wait("the tags are gone with the process", || {
        Ok(region("embeddings")?.is_none().then_some(()))
    })?;
    agent.stop()?;
    Outcome::passed(
        "told with its label, protected, and all of it back in RAM; what is not tagged stayed out",
    )
}

/// `memmon trace --pages` names the region of each page, which only the agent knows; without `--pages` it shows tagged
/// pages one by one, and no others.
fn traced(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload(UNIT, &Hold::mib(8))?;
    let agent = agent(ctx, "observe")?;
    workload.tell("tag 100 512 embeddings")?;
    let tagged = part(&workload, 100, 512)?;
    let pid = workload.unit.main_pid()?;
    let trace = ctx.trace(&["--pages"])?;
    push_out(&workload.unit.cgroup()?)?;
    let stream = trace.finish(ctx)?;
    let (mut within, mut beside) = (0, 0);
    for line in stream.of(UNIT) {
        let Some(page) = line.page.as_ref().filter(|page| page.pid == pid) else {
            continue;
        };
        let address = page.address()?;
        let expected = (tagged.start..tagged.start + tagged.length)
            .contains(&address)
            .then_some("embeddings");
        ensure!(page.region.as_deref() == expected, "{line:?}");
        *(if expected.is_some() {
            &mut within
        } else {
            &mut beside
        }) += 1;
    }
    ensure!(
        within > 0 && beside > 0,
        "{within} pages in the region, {beside} beside it"
    );
    // Without being asked for pages, it shows those of tagged regions only.
    workload.tell("write")?;
    let trace = ctx.trace(&[])?;
    push_out(&workload.unit.cgroup()?)?;
    let stream = trace.finish(ctx)?;
    let (mut told, mut merged) = (0, 0);
    for line in stream.of(UNIT) {
        match &line.page {
            Some(page) => {
                let address = page.address()?;
                let inside = (tagged.start..tagged.start + tagged.length).contains(&address);
                let label = page.region.as_deref() == Some("embeddings");
                ensure!(page.pid == pid && inside && label, "{line:?}");
                told += line.pages;
            }
            None => merged += line.pages,
        }
    }
    let out = pagemap::swapped(pid, tagged)?.len() as u64;
    ensure!(
        told == out && merged > 0,
        "{told} pages with a region, {out} of it are in swap, {merged} others"
    );
    agent.stop()?;
    Outcome::passed(format!(
        "{within} pages with the region's label, {beside} beside it without; unasked {told} with, {merged} merged"
    ))
}

/// At its own MemoryMax nothing is pulled, and the journal says why.
fn no_headroom(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let hold = Hold {
        service: "MemoryMax=40M",
        ..Hold::mib(32)
    };
    let workload = ctx.workload(UNIT, &hold)?;
    let unit = &workload.unit;
    let agent = agent(ctx, "high")?;
    workload.tell("tag 0 2048 weights")?;
    push_out(&unit.cgroup()?)?;
    let entry = agent.told(ctx, Message::BroughtBack, unit.name(), |_| true)?;
    ctx.say(&format!("journal: {}", entry.text()))?;
    entry.require(&[("MEMMON_PAGES", "0")])?;
    ensure!(entry.number("MEMMON_PAGES_ASKED")? > 0, "nothing was in swap");
    let why = entry.field("MEMMON_REASON").unwrap_or_default();
    ensure!(why.contains("headroom") && why.contains("memory.max"), "{why}");
    let out = pagemap::swapped(unit.main_pid()?, part(&workload, 0, 2048)?)?.len();
    ensure!(out > 0, "pages came back although there is no headroom");
    let seen = region("weights")?.context("the region is not in the report")?;
    ensure!(seen["bring_back"]["back_pages"] == 0, "{seen}");
    agent.stop()?;
    Outcome::passed("without headroom nothing was pulled, and the journal and the report say why")
}

/// In an observe unit a hit is counted and shown, and nothing else.
fn below_medium(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload(UNIT, &Hold::mib(8))?;
    let unit = &workload.unit;
    let agent = agent(ctx, "low")?;
    workload.tell("tag 0 512 cache")?;
    push_out(&unit.cgroup()?)?;
    let out = pagemap::swapped(unit.main_pid()?, part(&workload, 0, 512)?)?.len() as u64;
    ensure!(out > 0, "nothing was pushed out");
    let mut seen = None;
    ctx.wait("all hits are counted", || {
        seen = region("cache")?;
        Ok(seen
            .as_ref()
            .is_some_and(|seen| seen["swapout_pages"] == out)
            .then_some(()))
    })
    .with_context(|| format!("{out} tagged pages are in swap, the report says {seen:?}"))?;
    ensure!(
        agent.entries(Message::AlarmRaised, unit.name())?.is_empty(),
        "an alarm about a low unit"
    );
    ctx.require_limit(unit, &SwapLimit::untouched())?;
    agent.stop()?;
    Outcome::passed(format!(
        "{out} hits were counted, exactly those in swap, and nothing was done"
    ))
}

/// 1,024 ranges of one page each: exactly those are counted.
fn many_ranges(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload(UNIT, &Hold::mib(16))?;
    let unit = &workload.unit;
    let agent = agent(ctx, "observe")?;
    let ranges = workload.tell("tag-sparse 0 2048 sparse")?;
    ensure!(ranges == "1024", "{ranges} ranges were tagged");
    let seen = report()?;
    ensure!(seen["agent"]["tagged_ranges"] == 1024, "{}", seen["agent"]);
    push_out(&unit.cgroup()?)?;
    let start = workload.range()?.start;
    let out = pagemap::swapped(unit.main_pid()?, part(&workload, 0, 2048)?)?;
    let tagged = out
        .iter()
        .filter(|address| (*address - start) % 8192 == 0)
        .count() as u64;
    ensure!(
        tagged > 0 && out.len() as u64 > tagged,
        "{} pages in swap, {tagged} tagged",
        out.len()
    );
    let mut seen = None;
    ctx.wait("all hits are counted", || {
        seen = region("sparse")?;
        Ok(seen
            .as_ref()
            .is_some_and(|seen| seen["swapout_pages"] == tagged)
            .then_some(()))
    })
    .with_context(|| format!("{tagged} tagged pages are in swap, the report says {seen:?}"))?;
    agent.stop()?;
    Outcome::passed(format!(
        "of 1,024 ranges exactly the {tagged} pages in swap were counted"
    ))
}

/// Untag, exec, kill of the client and kill of the agent leave no tag; kill of the bus leaves them.
fn ends(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload(UNIT, &Hold::mib(8))?;
    let unit = &workload.unit;
    let agent = agent(ctx, "medium")?;
    let none = |ctx: &Ctx, what: &str| {
        // Between two lives of the agent there is no report.
        ctx.wait(what, || {
            Ok(report()
                .is_ok_and(|seen| seen["agent"]["tagged_ranges"] == 0)
                .then_some(()))
        })
    };
    let id = workload.tell("tag 0 16 a")?;
    workload.tell("tag 8 16 a")?;
    workload.tell(&format!("untag {id}"))?;
    let left = region("a")?.context("one of two overlapping tags is left")?;
    ensure!(left["pages"] == 16, "{left}");
    Unit::named("dbus.service").kill("KILL")?;
    wait_on_bus(ctx)?;
    ensure!(region("a")?.is_some(), "the tag is gone with the bus");
    ctx.say("untag takes its own part only; the tag survives the bus")?;
    unit.kill("KILL")?;
    none(ctx, "no tag after the kill of its process")?;
    unit.start()?;
    workload.tell("tag 0 16 b")?;
    // Not answered: there is nobody left to answer.
    ensure!(workload.tell("exec").is_err(), "exec returned");
    none(ctx, "no tag after exec")?;
    ctx.say("kill and exec take the tags along")?;
    unit.restart()?;
    workload.tell("tag 0 2048 c")?;
    push_out(&unit.cgroup()?)?;
    agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    ctx.wait_tightened(unit)?;
    agent.unit.kill("KILL")?;
    wait_on_bus(ctx)?;
    none(ctx, "no tag in the agent's next life")?;
    ctx.wait_limit(unit, &SwapLimit::untouched())?;
    ctx.say("the agent was killed: no limit and no tag is left")?;
    agent.stop()?;
    Outcome::passed("no tag outlives its process or its program, no limit the agent")
}

/// Killed between a tag's call and its answer, by turns: the client, the bus, the agent. Nothing stale is left, and the
/// next call succeeds.
fn ends_between(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload(UNIT, &Hold::mib(8))?;
    let agent = agent(ctx, "medium")?;
    for victim in [&workload.unit, &Unit::named("dbus.service"), &agent.unit] {
        // It gets the call, and cannot answer.
        agent.unit.kill("STOP")?;
        let asking = {
            let workload = workload.clone();
            thread::spawn(move || workload.tell("tag 0 2048 between"))
        };
        // When the call has arrived nobody can tell from outside; it takes milliseconds.
        thread::sleep(Duration::from_secs(2));
        ensure!(!asking.is_finished(), "a stopped agent has answered");
        victim.kill("KILL")?;
        if victim.name() != agent.unit.name() {
            agent.unit.kill("CONT")?;
        }
        let answer = asking.join().map_err(|_| anyhow::anyhow!("a panic"))?;
        ensure!(answer.is_err(), "answered all the same: {answer:?}");
        wait_on_bus(ctx)?;
        ctx.wait("no tag is left", || {
            Ok(report()
                .is_ok_and(|seen| seen["agent"]["tagged_ranges"] == 0)
                .then_some(()))
        })
        .with_context(|| format!("after the kill of {}", victim.name()))?;
        if victim.name() == workload.unit.name() {
            workload.unit.start()?;
        }
        let id = workload.tell("tag 0 2048 after")?;
        ensure!(region("after")?.is_some(), "the next call made no tag");
        workload.tell(&format!("untag {id}"))?;
        ctx.require_limit(&workload.unit, &SwapLimit::untouched())?;
        ctx.say(&format!("{} was killed: nothing is left", victim.name()))?;
    }
    agent.stop()?;
    Outcome::passed(
        "the client, the bus, the agent killed before the answer: no tag is left, and the next call makes one",
    )
}

/// Another user's process: cannot touch tags that are not its own, cannot fill the tables, cannot crash the agent.
fn misuse(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload(UNIT, &Hold::mib(8))?;
    let agent = agent(ctx, "medium")?;
    let id = workload.tell("tag 0 16 mine")?;
    // busctl is the process that asks, so the tag is its own, and ends with it.
    let own = as_user(NOBODY, "TagRegion", &["tts", "4096", "4096", "theirs"])?;
    ensure!(own.ok, "a process may tag itself: {own:?}");
    ctx.wait("its tag is gone with it", || {
        Ok(region("theirs")?.is_none().then_some(()))
    })?;
    let untag = as_user(NOBODY, "UntagRegion", &["t", &id])?;
    ensure!(
        !untag.ok && untag.text.contains("not one of this process"),
        "{untag:?}"
    );
    for (arguments, word) in [
        (["tts", "0", "0", "x"], "length 0"),
        (["tts", "18446744073709551615", "9", "x"], "reach beyond"),
        (["tts", "4096", "1", ""], "is empty"),
        (["tts", "0", "72057594037927936", "x"], "one tag may have"),
    ] {
        let called = as_user(NOBODY, "TagRegion", &arguments)?;
        ensure!(
            !called.ok && called.text.contains(word),
            "{arguments:?}: {called:?}"
        );
    }
    let wrong = as_user(NOBODY, "TagRegion", &["s", "x"])?;
    ensure!(!wrong.ok, "wrong types were taken");
    let pids = as_user(NOBODY, "GetReport", &[])?;
    let pid = workload.unit.main_pid()?;
    ensure!(
        pids.ok && !pids.text.contains(&format!("pid\\\":{pid}")),
        "a pid of another user: {pids:?}"
    );

    // A greedy process of that user: as many ranges as it gets, then more.
    let greedy = Hold {
        service: "User=nobody",
        ..Hold::mib(24)
    };
    fs::set_permissions(
        "/run/memmon-test",
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .context("letting nobody make a socket")?;
    let greedy = ctx.workload("greedy.service", &greedy)?;
    let filled = greedy.tell("tag-sparse 0 6000 greedy");
    let refusal = format!("{:#}", filled.err().context("3,000 ranges were taken")?);
    ensure!(refusal.contains("1024 is the limit"), "{refusal}");
    ctx.say(&format!("refused: {refusal}"))?;
    workload
        .tell("tag 32 16 more")
        .context("there is room for others")?;

    // Huge ranges, all of them one region, and labels that come and go.
    greedy.unit.restart()?;
    greedy.tell("tag 0 4294967296 huge")?;
    let huge = region("huge")?.context("the region is not in the report")?;
    ensure!(huge["pages"] == 4_294_967_296_u64, "{huge}");
    for n in 0..100 {
        let id = greedy.tell(&format!("tag 0 8 churn{n}"))?;
        greedy.tell(&format!("untag {id}"))?;
    }
    ensure!(
        region("churn99")?.is_none(),
        "a label that is gone is in the report"
    );
    workload
        .tell("tag 64 16 others")
        .context("there is room for others")?;

    // A flood, and the reflex beside it.
    let flood = ctx.transient_unit(
        "flood.service",
        &["User=nobody"],
        &[
            "/bin/sh",
            "-c",
            "while :; do for i in 1 2 3 4 5 6 7 8; do busctl call org.omnimind.memmon1 /org/omnimind/memmon1 \
             org.omnimind.memmon1.Manager GetReport >/dev/null 2>&1 & done; wait; done",
        ],
    )?;
    push_out(&workload.unit.cgroup()?)?;
    ctx.wait_tightened(&workload.unit)?;
    agent.measure_reactions(ctx, "under a flood of D-Bus calls")?;
    flood.stop()?;
    ensure!(
        agent.unit.property("NRestarts")? == "0",
        "the agent was restarted"
    );
    call("ListUnits", &[])?;
    ensure!(!leases_of(&workload.unit)?.is_empty(), "no lease");
    agent.stop()?;
    Outcome::passed("nothing of others could be touched, filled or crashed")
}
