//! Records of critical cgroups: at once after quiet, bounded in a storm, and complete in their sum.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapData, RingBuf};
use memmon::{
    kernel::load::MapSizes,
    source::{probes::Options, proc::monotonic_ns},
};
use memmon_common::{
    event::{SwapOutEvent, event_kind},
    offsets::Settings,
    pod,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{context::Context, meter::Meter};
use crate::{
    case::{Case, Outcome},
    host::{interrupt, wait},
    pass,
};

pub(super) const CASES: &[Case<Context>] = &[
    Case {
        name: "critical-first-page",
        run: first_page,
    },
    Case {
        name: "critical-storm",
        run: storm,
    },
    Case {
        name: "critical-full-ring",
        run: full_ring,
    },
    Case {
        name: "critical-inherited",
        run: inherited,
    },
];

/// A record with the moment at which it was in user space.
struct Seen {
    event: SwapOutEvent,
    at_ns: u64,
}

impl Seen {
    fn latency(&self) -> Duration {
        Duration::from_nanos(self.at_ns.saturating_sub(self.event.header.ts_ns))
    }
}

/// Waits for the next record of a swap-out.
fn next(ring: &mut RingBuf<MapData>, patience: Duration) -> Result<Option<Seen>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(record) = ring.next() {
            let at_ns = monotonic_ns();
            let event: SwapOutEvent = pod::read_from(&record).context("a record that is too short")?;
            ensure!(
                event.header.kind == event_kind::SWAP_OUT,
                "a record of kind {}",
                event.header.kind
            );
            return Ok(Some(Seen { event, at_ns }));
        }
        interrupt::check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let slice = Timespec::try_from(left.min(Duration::from_millis(50)))?;
        poll(&mut [PollFd::new(&*ring, PollFlags::IN)], Some(&slice))?;
    }
}

/// As [`next`], of `owner`.
fn expect(ring: &mut RingBuf<MapData>, owner: u64) -> Result<Seen> {
    let Some(seen) = next(ring, wait::PATIENCE)? else {
        bail!("no record of cgroup {owner} within {:?}", wait::PATIENCE);
    };
    ensure!(
        seen.event.owner == owner,
        "a record of cgroup {} instead of {owner}",
        seen.event.owner
    );
    Ok(seen)
}

fn first_page(context: &mut Context) -> Result<Outcome> {
    let (mut probes, mut rings) = context.probes(Options::default())?;
    let (critical, other) = (context.cgroup("critical")?, context.cgroup("other")?);
    probes.mark_critical(critical.id)?;
    let mut bystander = context.workload(&other)?;
    bystander.fill_and_page_out("anon", 16)?;
    let mut workload = context.workload(&critical)?;
    let mut latencies = Vec::new();
    for _ in 0..32 {
        // Each is the first after quiet: filling takes longer than nothing, but the interval must have passed.
        std::thread::sleep(Duration::from_nanos(Settings::DEFAULT.critical_interval_ns));
        let region = workload.map("anon", 1)?;
        workload.on("fill", region, "")?;
        workload.tell_on("pageout-everywhere", region, "")?;
        let seen = expect(&mut rings.events, critical.id)?;
        workload.answer()?;
        ensure!(
            seen.event.pages == 1,
            "a record of {} pages for one page",
            seen.event.pages
        );
        latencies.push(seen.latency());
        workload.on("unmap", region, "")?;
    }
    if let Some(extra) = next(&mut rings.events, Duration::ZERO)? {
        bail!("a record too many, of cgroup {}", extra.event.owner);
    }
    probes.unmark_critical(critical.id)?;
    workload.fill_and_page_out("anon", 16)?;
    if next(&mut rings.events, Duration::ZERO)?.is_some() {
        bail!("a record although the cgroup is no longer critical");
    }
    latencies.sort_unstable();
    pass!(
        "32 pages, 32 records; in user space after {:?} (median), {:?} (worst)",
        latencies[16],
        latencies[31]
    )
}

fn storm(context: &mut Context) -> Result<Outcome> {
    const PAGES: u64 = 32_768;
    let interval = Settings::DEFAULT.critical_interval_ns;
    let (mut probes, mut rings) = context.probes(Options::default())?;
    let cgroup = context.cgroup("storm")?;
    probes.mark_critical(cgroup.id)?;
    let mut workload = context.workload(&cgroup)?;
    let region = workload.map("anon", PAGES)?;
    let meter = Meter::start(&probes)?;
    workload.on("storm", region, "3")?;
    let mut seen = Vec::new();
    while let Some(record) = next(&mut rings.events, Duration::ZERO)? {
        seen.push(record.event);
    }
    ensure!(seen.len() > 1, "{} records of a storm", seen.len());
    for pair in seen.windows(2) {
        let gap = pair[1].header.ts_ns.saturating_sub(pair[0].header.ts_ns);
        ensure!(
            gap >= interval,
            "two records {gap} ns apart; the interval is {interval} ns"
        );
    }
    let in_storm = seen.len();
    // After quiet the next one comes at once, and brings what the storm left without a record.
    std::thread::sleep(Duration::from_nanos(interval));
    workload.fill_and_page_out("anon", 1)?;
    let last = expect(&mut rings.events, cgroup.id)?;
    let latency = last.latency();
    seen.push(last.event);
    let gain = meter.balanced(&probes)?;
    let counted = gain.of(cgroup.id);
    let told: u64 = seen
        .iter()
        .map(|event| u64::from(event.pages) + event.suppressed_pages)
        .sum();
    ensure!(
        told == counted,
        "records tell of {told} pages, counters of {counted}"
    );
    let drops = probes.totals()?.ring_drops;
    ensure!(drops == 0, "{drops} records dropped");
    pass!("{in_storm} records for {counted} pages, none missing; the first after quiet within {latency:?}")
}

/// A record that finds no room is not the last word: the next page after there is room again brings the rest along.
fn full_ring(context: &mut Context) -> Result<Outcome> {
    const PAGES: u64 = 64;
    let (mut probes, mut rings) = context.probes(Options {
        sizes: MapSizes {
            events: Some(4096),
            ..MapSizes::default()
        },
        ..Options::default()
    })?;
    let cgroups = [context.cgroup("fills")?, context.cgroup("waits")?];
    let [fills, waits] = &cgroups;
    for cgroup in &cgroups {
        probes.mark_critical(cgroup.id)?;
    }
    let meter = Meter::start(&probes)?;
    let mut workload = context.workload(fills)?;
    let mut rounds = 0;
    while probes.totals()?.ring_drops == 0 {
        ensure!(rounds < 1000, "{rounds} records fit a ring of 4 KiB");
        rounds += 1;
        std::thread::sleep(Duration::from_nanos(Settings::DEFAULT.critical_interval_ns));
        workload.fill_and_page_out("anon", 1)?;
    }
    let mut second = context.workload(waits)?;
    second.fill_and_page_out("anon", PAGES)?;
    let mut told = [0; 2];
    let mut note = |event: &SwapOutEvent| {
        for (cgroup, told) in cgroups.iter().zip(&mut told) {
            if event.owner == cgroup.id {
                *told += u64::from(event.pages) + event.suppressed_pages;
            }
        }
    };
    while let Some(seen) = next(&mut rings.events, Duration::ZERO)? {
        ensure!(seen.event.owner == fills.id, "a record found room in a full ring");
        note(&seen.event);
    }
    // No quiet in between: what got no record is due at once.
    second.fill_and_page_out("anon", 1)?;
    workload.fill_and_page_out("anon", 1)?;
    while let Some(seen) = next(&mut rings.events, Duration::ZERO)? {
        note(&seen.event);
    }
    let gain = meter.balanced(&probes)?;
    let counted = [gain.of(fills.id), gain.of(waits.id)];
    ensure!(
        told == counted,
        "records tell of {told:?} pages, counters of {counted:?}"
    );
    let drops = probes.totals()?.ring_drops;
    pass!("{drops} records found no room; those after them tell of all {counted:?} pages")
}

fn inherited(context: &mut Context) -> Result<Outcome> {
    let (mut probes, mut rings) = context.probes(Options::default())?;
    let parent = context.cgroup("parent")?;
    let before = parent.child("before")?;
    probes.mark_critical(parent.id)?;
    let after = parent.child("after")?;
    let below = after.child("below")?;
    let critical = probes.critical()?;
    ensure!(
        critical.contains(&after.id) && critical.contains(&below.id),
        "{critical:?} lacks {} or {} below it",
        after.id,
        below.id
    );
    ensure!(
        !critical.contains(&before.id),
        "a child that was there before is the agent's business, but is in {critical:?}"
    );
    let mut workload = context.workload(&below)?;
    workload.fill_and_page_out("anon", 1)?;
    let seen = expect(&mut rings.events, below.id)?;
    pass!("grandchild recorded after {:?}", seen.latency())
}
