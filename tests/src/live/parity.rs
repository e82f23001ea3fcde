//! Every page has an owner, and the sum is the kernel's. Except in the first case, the owner is not the one
//! who reclaims.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, ensure};
use memmon::source::probes::{Options, Probes};
use memmon_common::{
    event::{SwapOutKey, reclaim_kind},
    offsets::ABSENT,
};

use super::{context::Context, meter::Meter};
use crate::{
    case::{Case, Outcome},
    host::wait,
    live::worker::PAGE,
    pass, skip,
};

pub(super) const CASES: &[Case<Context>] = &[
    Case {
        name: "parity-own-pageout",
        run: own_pageout,
    },
    Case {
        name: "parity-process-madvise",
        run: process_madvise,
    },
    Case {
        name: "parity-limit",
        run: limit,
    },
    Case {
        name: "parity-limit-of-parent",
        run: limit_of_parent,
    },
    Case {
        name: "parity-three-at-once",
        run: three_at_once,
    },
    Case {
        name: "parity-reclaim-from-outside",
        run: reclaim_from_outside,
    },
    Case {
        name: "parity-reclaim-of-parent",
        run: reclaim_of_parent,
    },
    Case {
        name: "parity-node-reclaim",
        run: node_reclaim,
    },
    Case {
        name: "parity-global-pressure",
        run: global_pressure,
    },
];

/// 32 MiB.
const PAGES: u64 = 8192;

/// What limit reclaim is called on this kernel: one whose BTF does not show `scan_control` cannot tell.
fn limit_kind(probes: &Probes) -> u32 {
    if memmon::kernel::probe::kernel_facts(probes.facts()).sc_target == ABSENT {
        reclaim_kind::MEMCG
    } else {
        reclaim_kind::LIMIT
    }
}

fn own_pageout(context: &mut Context) -> Result<Outcome> {
    let (probes, _rings) = context.probes(Options::default())?;
    let cgroup = context.cgroup("own")?;
    let (mut workload, region) = context.filled(&cgroup, PAGES)?;
    let meter = Meter::start(&probes)?;
    workload.page_out(region)?;
    let gain = meter.balanced(&probes)?;
    let pages = gain.only(cgroup.id, cgroup.id, reclaim_kind::MADVISE)?;
    ensure!(
        pages == PAGES,
        "{pages} pages attributed, but pagemap says {PAGES} are in swap"
    );
    pass!("{pages} attributed, {} written, {PAGES} in swap", gain.written)
}

fn process_madvise(context: &mut Context) -> Result<Outcome> {
    let (probes, _rings) = context.probes(Options::default())?;
    let (victims, callers) = (context.cgroup("victim")?, context.cgroup("caller")?);
    let (mut victim, region) = context.filled(&victims, PAGES)?;
    let mut caller = context.workload(&callers)?;
    let meter = Meter::start(&probes)?;
    caller.ask(&format!(
        "advise {} {} {}",
        victim.pid, region.address, region.bytes
    ))?;
    let swapped = victim.swapped(region)?;
    let gain = meter.balanced(&probes)?;
    let pages = gain.only(victims.id, callers.id, reclaim_kind::MADVISE)?;
    ensure!(
        pages == swapped,
        "{pages} pages attributed, but pagemap says {swapped}"
    );
    ensure!(
        gain.of(callers.id) == 0,
        "pages of the caller, who has lost none: {:?}",
        gain.pages
    );
    pass!("{pages} pages of the victim by the caller")
}

fn limit(context: &mut Context) -> Result<Outcome> {
    let (probes, _rings) = context.probes(Options::default())?;
    let cgroup = context.cgroup("limit")?;
    cgroup.limit(PAGES * PAGE / 2)?;
    let mut workload = context.workload(&cgroup)?;
    let region = workload.map("anon", PAGES)?;
    let meter = Meter::start(&probes)?;
    workload.on("churn", region, "2")?;
    let gain = meter.balanced(&probes)?;
    let pages = gain.only(cgroup.id, cgroup.id, limit_kind(&probes))?;
    ensure!(
        pages >= PAGES / 2,
        "only {pages} pages went out of {PAGES} with room for half of them"
    );
    pass!("{pages} attributed, {} written", gain.written)
}

fn limit_of_parent(context: &mut Context) -> Result<Outcome> {
    let (probes, _rings) = context.probes(Options::default())?;
    let parent = context.cgroup("parent")?;
    parent.limit(PAGES * PAGE / 2)?;
    let child = parent.child("child")?;
    let mut workload = context.workload(&child)?;
    let region = workload.map("anon", PAGES)?;
    let meter = Meter::start(&probes)?;
    workload.on("churn", region, "2")?;
    let gain = meter.balanced(&probes)?;
    let kind = limit_kind(&probes);
    let culprit = if kind == reclaim_kind::LIMIT {
        parent.id
    } else {
        child.id
    };
    let pages = gain.only(child.id, culprit, kind)?;
    ensure!(
        gain.of(parent.id) == 0,
        "pages of the parent, which has none: {:?}",
        gain.pages
    );
    pass!("{pages} pages of the child for the parent's limit")
}

fn three_at_once(context: &mut Context) -> Result<Outcome> {
    let (probes, _rings) = context.probes(Options::default())?;
    let kind = limit_kind(&probes);
    let limited = [context.cgroup("left")?, context.cgroup("right")?];
    let advised = context.cgroup("storm")?;
    let meter = Meter::start(&probes)?;
    let mut busy = Vec::new();
    for cgroup in &limited {
        cgroup.limit(PAGES * PAGE / 2)?;
        let mut workload = context.workload(cgroup)?;
        let region = workload.map("anon", PAGES)?;
        workload.tell_on("churn", region, "4")?;
        busy.push(workload);
    }
    let mut workload = context.workload(&advised)?;
    let region = workload.map("anon", PAGES)?;
    workload.tell_on("storm", region, "4")?;
    busy.push(workload);
    for workload in &mut busy {
        workload.answer()?;
    }
    let gain = meter.balanced(&probes)?;
    let mut shares = Vec::new();
    for cgroup in &limited {
        shares.push(gain.only(cgroup.id, cgroup.id, kind)?);
    }
    shares.push(gain.only(advised.id, advised.id, reclaim_kind::MADVISE)?);
    pass!("{shares:?} of {} written", gain.written)
}

fn reclaim_from_outside(context: &mut Context) -> Result<Outcome> {
    let (probes, _rings) = context.probes(Options::default())?;
    let (victims, writers) = (context.cgroup("victim")?, context.cgroup("writer")?);
    let (mut victim, region) = context.filled(&victims, PAGES)?;
    let mut writer = context.workload(&writers)?;
    let meter = Meter::start(&probes)?;
    let (file, value) = victims.reclaim_request(region.bytes);
    writer.ask(&format!("write {} {value}", file.display()))?;
    let swapped = victim.swapped(region)?;
    let gain = meter.balanced(&probes)?;
    let (culprit, kind) = if context.tree.is_v1() {
        (victims.id, limit_kind(&probes)) // memory.force_empty is not proactive reclaim to the kernel.
    } else {
        match limit_kind(&probes) {
            reclaim_kind::LIMIT => (writers.id, reclaim_kind::PROACTIVE),
            unknown => (writers.id, unknown),
        }
    };
    let pages = gain.only(victims.id, culprit, kind)?;
    ensure!(
        pages >= swapped && swapped >= PAGES / 2,
        "{pages} pages attributed, {swapped} of {PAGES} in swap"
    );
    ensure!(
        gain.of(writers.id) == 0,
        "pages of the writer, who has lost none: {:?}",
        gain.pages
    );
    pass!("{pages} attributed, {swapped} in swap")
}

fn reclaim_of_parent(context: &mut Context) -> Result<Outcome> {
    let (probes, _rings) = context.probes(Options::default())?;
    let (parent, writers) = (context.cgroup("parent")?, context.cgroup("writer")?);
    let children = [parent.child("left")?, parent.child("right")?];
    let mut victims = Vec::new();
    for child in &children {
        victims.push(context.filled(child, PAGES)?);
    }
    let mut writer = context.workload(&writers)?;
    let meter = Meter::start(&probes)?;
    let (file, value) = parent.reclaim_request(2 * PAGES * PAGE);
    writer.ask(&format!("write {} {value}", file.display()))?;
    let gain = meter.balanced(&probes)?;
    let (culprit, kind) = match (context.tree.is_v1(), limit_kind(&probes)) {
        (true, reclaim_kind::LIMIT) => (parent.id, reclaim_kind::LIMIT),
        (false, reclaim_kind::LIMIT) => (writers.id, reclaim_kind::PROACTIVE),
        (_, unknown) => (writers.id, unknown),
    };
    let mut shares = Vec::new();
    for child in &children {
        shares.push(gain.only(child.id, culprit, kind)?);
    }
    pass!("{shares:?} of two children, {} written", gain.written)
}

/// The node's own proactive reclaim (from 6.17) takes from whoever has the coldest pages.
fn node_reclaim(context: &mut Context) -> Result<Outcome> {
    let file = Path::new("/sys/devices/system/node/node0/reclaim");
    if !file.exists() {
        skip!("this kernel has no {}", file.display());
    }
    let (probes, _rings) = context.probes(Options::default())?;
    let (victims, writers) = (context.cgroup("victim")?, context.cgroup("writer")?);
    let _victim = context.filled(&victims, PAGES)?;
    let mut writer = context.workload(&writers)?;
    let meter = Meter::start(&probes)?;
    let by_writer = |key: &&SwapOutKey| key.reclaimer == writers.id;
    // The first rounds may go by with pages that are too young, or are dropped without being written.
    wait::until("somebody's pages are written", || {
        writer.ask(&format!("write {} 32M swappiness=max", file.display()))?;
        let gain = meter.gain(&probes)?;
        let others = |key: &SwapOutKey| by_writer(&key) && key.owner != writers.id;
        Ok(gain.pages.keys().any(others).then_some(()))
    })?;
    let gain = meter.balanced(&probes)?;
    if limit_kind(&probes) == reclaim_kind::LIMIT {
        let wrong = gain
            .pages
            .keys()
            .filter(by_writer)
            .find(|key| key.kind != u64::from(reclaim_kind::PROACTIVE));
        ensure!(wrong.is_none(), "not proactive: {wrong:?}");
    }
    ensure!(
        gain.pages
            .keys()
            .any(|key| by_writer(&key) && key.owner != writers.id),
        "nobody else's pages by the writer: {:?}",
        gain.pages
    );
    let owners: BTreeSet<u64> = gain.pages.keys().map(|key| key.owner).collect();
    pass!("{} written, of {} owners", gain.written, owners.len())
}

fn global_pressure(_: &mut Context) -> Result<Outcome> {
    skip!("filling a whole host would hurt whoever else uses it; `cargo xtask vm` does it")
}
