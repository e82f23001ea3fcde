//! zswap keeps pages in memory that went out all the same, and may write them to the device later.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::guest::{Case, Ctx, Outcome, memory_stat, workload::Hold};

/// This topic's cases.
pub const CASES: &[Case] = &[Case {
    name: "attribution.zswap",
    run: zswap,
    seconds: 120,
}];

const ENABLED: &str = "/sys/module/zswap/parameters/enabled";

/// One unit's pages stay in zswap; another's are too many for its share, so that the oldest are written back.
/// That is a write without a swap-out: nobody loses a page a second time.
fn zswap(ctx: &mut Ctx) -> Result<Outcome> {
    if !Path::new(ENABLED).exists() {
        return Outcome::skipped("zswap is not built into this kernel");
    }
    ctx.swap_on_zram(128)?;
    ctx.set(ENABLED, "Y")?;
    let roomy = Hold::mib(8);
    let tight = Hold {
        service: "MemoryZSwapMax=2M",
        ..roomy
    };
    let workloads = [
        ctx.workload("attr-zswap.service", &roomy)?,
        ctx.workload("attr-zswap-tight.service", &tight)?,
    ];
    let trace = ctx.trace(&[])?;
    for workload in &workloads {
        workload.unit.cgroup()?.reclaim(roomy.mib << 20)?;
    }
    let stream = trace.finish(ctx)?;
    stream.complete()?;
    let ledger = &stream.end()?.ledger;
    let stored = ledger.zswpout.context("this kernel has zswap but no zswpout")?;
    let written_back = ledger.zswpwb.context("this kernel has zswap but no zswpwb")?;
    ensure!(
        stored >= roomy.pages() && written_back > 0,
        "zswap stored {stored} pages and wrote {written_back} back"
    );
    let mut said = Vec::new();
    let mut cgroups = Vec::new();
    for workload in &workloads {
        let pages = stream.only_kind(workload.unit.name(), "proactive")?;
        let cgroup = workload.unit.cgroup()?;
        let swap = cgroup.number("memory.swap.current")? / 4096;
        ensure!(
            pages == swap,
            "{pages} pages of {} went out, but it has {swap} in swap",
            workload.unit.name()
        );
        said.push((workload.unit.name(), pages));
        cgroups.push(cgroup);
    }
    let all: Vec<_> = cgroups.iter().collect();
    if let Some(counted) = memory_stat::swapped_out(&all, ctx.deadline())? {
        for ((unit, pages), counted) in said.iter().zip(counted) {
            ensure!(
                *pages == counted,
                "{pages} pages of {unit}, {counted} in its memory.stat"
            );
        }
    }
    Outcome::passed(format!(
        "{said:?}; zswap stored {stored} and wrote {written_back} back; the ledgers differ by just that"
    ))
}
