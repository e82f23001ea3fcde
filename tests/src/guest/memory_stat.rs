//! A cgroup's memory.stat.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{cgroup::Cgroup, wait};

/// The kernel flushes memory.stat every two seconds at the latest; twice that is safe.
const FLUSHED: Duration = Duration::from_secs(4);

/// A counter of a cgroup and everything below it; `None` if this kernel does not have it.
///
/// # Errors
/// If the file cannot be read.
pub fn get(cgroup: &Cgroup, name: &str) -> Result<Option<u64>> {
    let text = cgroup.read("memory.stat")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| {
        value
            .parse()
            .with_context(|| format!("{name} in memory.stat: {value}"))
    })
    .transpose()
}

/// A counter once the load has stopped and the kernel has flushed it; `None` if this kernel does not have it.
///
/// # Errors
/// If the file cannot be read, or the counter still changes at the deadline.
pub fn settled(cgroup: &Cgroup, name: &str, deadline: Instant) -> Result<Option<u64>> {
    if get(cgroup, name)?.is_none() {
        return Ok(None);
    }
    wait::until_still(deadline, FLUSHED, name, || get(cgroup, name))
}

/// What swapped the pages of these cgroups out, once the load has stopped and the kernel has flushed it:
/// written to a device or zswap, or found to be zero; `None` where memory.stat does not tell (before 6.13).
///
/// # Errors
/// If a file cannot be read, or a counter still changes at the deadline.
pub fn swapped_out(cgroups: &[&Cgroup], deadline: Instant) -> Result<Option<Vec<u64>>> {
    wait::until_still(deadline, FLUSHED, "swap-outs in memory.stat", || {
        cgroups.iter().map(|cgroup| swap_outs(cgroup)).collect()
    })
}

fn swap_outs(cgroup: &Cgroup) -> Result<Option<u64>> {
    let Some(device) = get(cgroup, "pswpout")? else {
        return Ok(None);
    };
    let mut pages = device;
    for name in ["zswpout", "swpout_zero"] {
        pages += get(cgroup, name)?.unwrap_or(0);
    }
    // What zswap writes back has gone out before.
    Ok(Some(pages - get(cgroup, "zswpwb")?.unwrap_or(0)))
}
