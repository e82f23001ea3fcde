//! As many owners as memmon's counters are made for, and then more combinations than they have room for.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    guest::{Case, Ctx, Outcome, cgroup::Cgroup, pagemap, undo::Undo},
    workload::{Range, advise},
};

/// This topic's cases.
pub const CASES: &[Case] = &[Case {
    name: "attribution.many-cgroups",
    run: many_cgroups,
    seconds: 240,
}];

/// Owners, of one page each.
const OWNERS: usize = 4096;
/// Others who page all of them out, one after the other.
const CULPRITS: usize = 7;
/// Entries of the map of counters (memmon-ebpf/src/maps.rs).
const ROOM: u64 = 24_576;
const PAGE: usize = 4096;

/// This process touches a page in each of the cgroups, which then own it, and pages all of them out from
/// other ones. Each page has the right name and the right culprit, with or without room in the counters.
fn many_cgroups(ctx: &mut Ctx) -> Result<Outcome> {
    // A huge page would belong to a single one.
    ctx.set("/sys/kernel/mm/transparent_hugepage/enabled", "never")?;
    ctx.swap_on_zram(64)?;
    let trace = ctx.trace(&[])?;
    let began = Instant::now();
    let top = Cgroup::named("/attrmany.slice");
    ctx.undo().note(&Undo::RemoveCgroup(top.path().to_owned()))?;
    make(&top)?;
    top.write("cgroup.subtree_control", "+memory")?;
    let mut names = BTreeMap::new();
    let mut owners = Vec::new();
    for number in 0..OWNERS {
        owners.push(below(&top, &format!("owner{number}.service"), &mut names)?);
    }
    let mut culprits = Vec::new();
    for number in 0..CULPRITS {
        culprits.push(below(&top, &format!("culprit{number}.service"), &mut names)?);
    }
    let made = began.elapsed();
    let home = Cgroup::named(&own_cgroup()?);
    let mut pages = Pages::new();
    for (page, owner) in owners.iter().enumerate() {
        enter(owner)?;
        pages.write(page);
    }
    let owned = began.elapsed() - made;
    for culprit in &culprits {
        enter(culprit)?;
        pages.page_out(ctx)?;
        // Brought back where it belongs, and changed, or the next one would have nothing to write.
        (0..OWNERS).for_each(|page| pages.write(page));
    }
    enter(&home)?;
    let swapped = began.elapsed() - made - owned;
    let stream = trace.finish(ctx)?;
    stream.complete()?;
    let mut by: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for line in &stream.lines {
        let Some(name) = names.get(&line.cgroup_id) else {
            continue; // Somebody else's.
        };
        let culprit = line.reclaimer.unit.as_deref().unwrap_or_default();
        ensure!(
            line.unit == *name && line.reclaimer.kind == "madvise",
            "cgroup {} is {name}, paged out: {line:?}",
            line.cgroup_id
        );
        *by.entry((line.cgroup_id, culprit)).or_default() += line.pages;
    }
    let expected = OWNERS * CULPRITS;
    ensure!(
        by.len() == expected && by.values().all(|&pages| pages == 1),
        "{} combinations of owner and culprit with {} pages, instead of {expected} with one each",
        by.len(),
        by.values().sum::<u64>()
    );
    ensure!(
        by.keys().all(|(_, culprit)| culprit.starts_with("culprit")),
        "a culprit of another name"
    );
    let overflow = stream.end()?.overflow_pages;
    // Each CPU holds the page it counted last apart.
    let held = thread::available_parallelism().context("counting CPUs")?.get() as u64;
    let without_room = expected as u64 - ROOM - held;
    ensure!(
        overflow >= without_room && overflow < expected as u64,
        "{overflow} pages found no room; it is {ROOM} for {expected}"
    );
    let seconds = |time: Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
    ctx.measure("many_cgroups_made_seconds", seconds(made))?;
    ctx.measure("many_cgroups_owned_seconds", seconds(owned))?;
    ctx.measure("many_cgroups_swapped_seconds", seconds(swapped))?;
    Outcome::passed(format!(
        "{expected} pages, one for each of {OWNERS} owners and {CULPRITS} culprits; {overflow} without room"
    ))
}

fn make(cgroup: &Cgroup) -> Result<()> {
    fs::create_dir(cgroup.path()).with_context(|| format!("making {}", cgroup.path().display()))
}

/// Makes a cgroup with the name of a unit below `top`, and remembers the name by id.
fn below(top: &Cgroup, name: &str, names: &mut BTreeMap<u64, String>) -> Result<Cgroup> {
    let cgroup = top.child(name);
    make(&cgroup)?;
    names.insert(cgroup.id()?, name.to_owned());
    Ok(cgroup)
}

/// Moves this process.
fn enter(cgroup: &Cgroup) -> Result<()> {
    cgroup.write("cgroup.procs", "0")
}

/// The cgroup of this process.
fn own_cgroup() -> Result<String> {
    let text = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    let path = text.trim_end().strip_prefix("0::");
    Ok(path
        .with_context(|| format!("/proc/self/cgroup: {text}"))?
        .to_owned())
}

/// One page for each owner, which exists once it is written.
struct Pages {
    memory: Vec<u8>,
    start: usize,
    written: u8,
}

impl Pages {
    fn new() -> Self {
        // Zeroed memory of this size is mapped, not touched.
        let memory = vec![0; (OWNERS + 1) * PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self {
            memory,
            start,
            written: 0,
        }
    }

    /// Writes a page anew, never with zeroes only.
    fn write(&mut self, page: usize) {
        self.written = self.written % 100 + 1;
        let start = self.start + page * PAGE;
        self.memory[start..start + 64].fill(self.written);
    }

    fn range(&self) -> Range {
        Range {
            start: self.memory[self.start..].as_ptr().addr() as u64,
            length: (OWNERS * PAGE) as u64,
        }
    }

    /// Pages out all of them.
    fn page_out(&self, ctx: &Ctx) -> Result<()> {
        let this = std::process::id();
        ctx.wait("every page is in swap", || {
            advise::pageout(this, self.range())?;
            let swapped = pagemap::swapped(this, self.range())?.len();
            if swapped < OWNERS {
                // Some are on another CPU's way to the lists of pages: have all CPUs finish theirs.
                fs::write("/proc/sys/vm/compact_memory", "1").context("writing compact_memory")?;
            }
            Ok((swapped == OWNERS).then_some(()))
        })
    }
}
