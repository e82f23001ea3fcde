//! Every page bears the right name, whatever becomes of its cgroup.

use anyhow::{Result, ensure};
use memmon_common::{event::CGROUP_PATH_MAX, offsets::ABSENT};

use super::{context::Context, many, tracer::Tracer};
use crate::{
    case::{Case, Outcome},
    pass,
};

pub(super) const CASES: &[Case<Context>] = &[
    Case {
        name: "names-new-and-nested",
        run: new_and_nested,
    },
    Case {
        name: "names-removed",
        run: removed,
    },
    Case {
        name: "names-long-path",
        run: long_path,
    },
    Case {
        name: "names-many",
        run: many_names,
    },
];

const PAGES: u64 = 256;

fn new_and_nested(context: &mut Context) -> Result<Outcome> {
    let tracer = Tracer::watching(context, &[])?;
    // Made, used and filled with a child after the programs were attached.
    let outer = context.cgroup("outer.slice")?;
    let unit = outer.child("memmon-live.service")?;
    let nested = unit.child("worker")?;
    let mut workload = context.workload(&nested)?;
    let region = workload.fill_and_page_out("anon", PAGES)?;
    let stream = tracer.finish()?;
    stream.complete()?;
    let pages = stream.pages_named(nested.id, &nested.path)?;
    ensure!(
        pages == region.pages(),
        "{pages} of {} pages bear the name of the nested cgroup",
        region.pages()
    );
    for line in stream.of(nested.id) {
        // outer.slice has dashes and a number, but is a valid slice's name.
        ensure!(
            line["unit"] == "memmon-live.service",
            "a nested cgroup belongs to the unit above it: {line}"
        );
        ensure!(
            line["reclaimer"]["unit"] == "memmon-live.service" && line["reclaimer"]["pid"] == workload.pid,
            "the unit advised itself, by process {}: {line}",
            workload.pid
        );
    }
    pass!("{pages} pages of a unit's nested cgroup, known before its first page")
}

fn removed(context: &mut Context) -> Result<Outcome> {
    let tracer = Tracer::watching(context, &[])?;
    let parent = context.cgroup("parent")?;
    let home = context.cgroup("home")?;
    let mut doomed = parent.child("doomed")?;
    let mut workload = context.workload(&doomed)?;
    workload.fill_and_page_out("anon", PAGES)?;
    let left_behind = workload.map("anon", PAGES)?;
    workload.on("fill", left_behind, "")?;
    home.add(workload.pid)?;
    doomed.remove()?;
    // Swapped out after its cgroup is gone, by a process of another one.
    workload.page_out(left_behind)?;
    let (probes, _rings) = context.probes(memmon::source::probes::Options::default())?;
    let reparented = memmon::kernel::probe::kernel_facts(probes.facts()).objcg_memcg != ABSENT;
    let stream = tracer.finish()?;
    stream.complete()?;
    let of_dead = stream.pages_named(doomed.id, &doomed.path)?;
    let of_parent = stream.pages_named(parent.id, &parent.path)?;
    // Re-parenting happens some time after the removal: until then pages still go out in the dead one's name.
    let right = of_dead + of_parent == 2 * PAGES
        && if reparented {
            of_dead >= PAGES
        } else {
            of_parent == 0
        };
    ensure!(
        right,
        "{of_dead} pages of the removed cgroup and {of_parent} of its parent, of {} (re-parented: {reparented})",
        2 * PAGES
    );
    ensure!(
        stream.of(home.id).next().is_none(),
        "pages of the process's new cgroup, which owns none"
    );
    pass!("{of_dead} pages bear the name of the removed cgroup, {of_parent} its parent's")
}

fn long_path(context: &mut Context) -> Result<Outcome> {
    let tracer = Tracer::watching(context, &[])?;
    // The deepest first: that is the order in which they can be removed.
    let mut chain = vec![context.cgroup("long")?];
    while let Some(last) = chain.first()
        && last.path.len() <= CGROUP_PATH_MAX
    {
        let next = last.child(&format!("{:x<200}", chain.len()))?;
        chain.insert(0, next);
    }
    let deepest = &chain[0];
    let mut workload = context.workload(deepest)?;
    let region = workload.fill_and_page_out("anon", PAGES)?;
    let stream = tracer.finish()?;
    stream.complete()?;
    let pages = stream.pages_named(deepest.id, &deepest.path)?;
    ensure!(
        pages == region.pages(),
        "{pages} of {} pages bear the name",
        region.pages()
    );
    pass!("{pages} pages of a cgroup with a path longer than {CGROUP_PATH_MAX} bytes")
}

fn many_names(context: &mut Context) -> Result<Outcome> {
    let tracer = Tracer::watching(context, &[])?;
    let home = context.cgroup("home")?;
    // Faster than the records of new cgroups can be read: memmon must notice and look at the tree.
    let (_parent, owners) = many::siblings(context, many::MANY)?;
    let mut workload = context.workload(&home)?;
    many::wander(&mut workload, &owners)?;
    let stream = tracer.finish()?;
    let written = stream.complete()?;
    for owner in &owners {
        let pages = stream.pages_named(owner.id, &owner.path)?;
        ensure!(
            pages == many::PAGES,
            "{} lost {} pages, but {pages} are shown",
            owner.path,
            many::PAGES
        );
    }
    pass!("{} cgroups named, {written} written", owners.len())
}
