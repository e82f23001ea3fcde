//! Many owners, and maps too small for them: everything is counted, whatever is lost is counted as lost.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use memmon::{kernel::load::MapSizes, source::probes::Options};

use super::{context::Context, meter::Meter};
use crate::{
    case::{Case, Outcome},
    host::cgroup::Cgroup,
    live::worker::client::Workload,
    pass,
};

pub(super) const CASES: &[Case<Context>] = &[
    Case {
        name: "map-overflow",
        run: map_overflow,
    },
    Case {
        name: "ring-overflow",
        run: ring_overflow,
    },
    Case {
        name: "many-cgroups",
        run: many_cgroups,
    },
];

/// Pages of each owner.
pub(super) const PAGES: u64 = 4;
/// As many cgroups as memmon's maps are made for.
pub(super) const MANY: usize = 4096;

/// Has `workload` own and lose [`PAGES`] in each cgroup, one after the other.
pub(super) fn wander(workload: &mut Workload, cgroups: &[Cgroup]) -> Result<()> {
    for cgroup in cgroups {
        workload.ask(&format!("enter {}", cgroup.dir.display()))?;
        workload
            .fill_and_page_out("anon", PAGES)
            .with_context(|| cgroup.path.clone())?;
    }
    Ok(())
}

/// Cgroups beside each other in one parent, which is the first of the pair.
pub(super) fn siblings(context: &Context, count: usize) -> Result<(Cgroup, Vec<Cgroup>)> {
    let parent = context.cgroup("siblings")?;
    let children = (0..count)
        .map(|index| parent.child(&format!("{index:04}")))
        .collect::<Result<_>>()?;
    Ok((parent, children))
}

fn map_overflow(context: &mut Context) -> Result<Outcome> {
    const ROOM: u32 = 8;
    const OWNERS: usize = 64;
    let (probes, _rings) = context.probes(Options {
        sizes: MapSizes {
            swap_out: Some(ROOM),
            ..MapSizes::default()
        },
        ..Options::default()
    })?;
    let home = context.cgroup("home")?;
    let (_parent, owners) = siblings(context, OWNERS)?;
    let mut workload = context.workload(&home)?;
    let meter = Meter::start(&probes)?;
    wander(&mut workload, &owners)?;
    let gain = meter.balanced(&probes)?;
    ensure!(
        gain.overflow > 0,
        "{OWNERS} owners had room in a map of {ROOM}: {:?}",
        gain.pages
    );
    let mut homeless = 0;
    for owner in &owners {
        let pages = gain.of(owner.id);
        ensure!(
            pages <= PAGES,
            "cgroup {} lost {PAGES} pages, but has {pages}",
            owner.id
        );
        homeless += PAGES - pages;
    }
    ensure!(
        homeless == gain.overflow,
        "{homeless} pages are missing from the owners' counters, but {} are in the overflow bucket",
        gain.overflow
    );
    pass!(
        "{} counters hold {} pages, the bucket the other {homeless} of {}",
        gain.pages.len(),
        gain.written - gain.overflow,
        gain.written
    )
}

fn ring_overflow(context: &mut Context) -> Result<Outcome> {
    const RING_BYTES: u32 = 4096;
    const OUT: u64 = 4096;
    let (probes, mut rings) = context.probes(Options {
        emit_all: true,
        sizes: MapSizes {
            events: Some(RING_BYTES),
            ..MapSizes::default()
        },
        ..Options::default()
    })?;
    let cgroup = context.cgroup("ring")?;
    let (mut workload, region) = context.filled(&cgroup, OUT)?;
    let meter = Meter::start(&probes)?;
    let drops_before = probes.totals()?.ring_drops;
    while rings.events.next().is_some() {}
    workload.page_out(region)?;
    let gain = meter.balanced(&probes)?;
    let drops = probes.totals()?.ring_drops - drops_before;
    let mut records = 0;
    while rings.events.next().is_some() {
        records += 1;
    }
    let pages = gain.of(cgroup.id);
    ensure!(pages == OUT, "{pages} of {OUT} pages counted");
    ensure!(
        drops > 0,
        "{records} records had room in a ring of {RING_BYTES} bytes"
    );
    // Every folio here is one page, so is one record.
    ensure!(
        drops + records == gain.written,
        "{records} records and {drops} drops for {} pages",
        gain.written
    );
    pass!("{records} records, {drops} drops counted, {pages} pages counted")
}

fn many_cgroups(context: &mut Context) -> Result<Outcome> {
    let (probes, _rings) = context.probes(Options::default())?;
    let home = context.cgroup("home")?;
    let (_parent, owners) = siblings(context, MANY)?;
    let mut workload = context.workload(&home)?;
    let meter = Meter::start(&probes)?;
    wander(&mut workload, &owners)?;
    let gain = meter.balanced(&probes)?;
    ensure!(gain.overflow == 0, "{} pages found no room", gain.overflow);
    let mut of_owner: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, pages) in &gain.pages {
        *of_owner.entry(key.owner).or_default() += pages;
    }
    for owner in &owners {
        let pages = of_owner.remove(&owner.id).unwrap_or(0);
        ensure!(
            pages == PAGES,
            "{} lost {PAGES} pages, but {pages} are its",
            owner.path
        );
    }
    pass!(
        "{MANY} cgroups with {PAGES} pages each, {} pages of others, {} written",
        of_owner.values().sum::<u64>(),
        gain.written
    )
}
