//! Less memory on the whole machine than is wanted.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Ctx, shell, undo::Undo};

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl Ctx {
    /// Sets memory aside, which is quicker than filling it, until no more than `bytes` are available; turns swap to
    /// the disk on (what is written cannot be compressed: in zram it would take as much memory as it frees), and has
    /// anonymous memory go before the page cache.
    ///
    /// # Errors
    /// If a setting cannot be changed.
    pub fn short_of_memory(&self, bytes: u64) -> Result<()> {
        const HUGE: u64 = 2 << 20;
        self.swap_on_disk()?;
        self.set("/proc/sys/vm/swappiness", "200")?;
        let spare = memory("MemAvailable")?.saturating_sub(bytes) / HUGE;
        self.set(HUGE_PAGES, &spare.to_string())
    }

    /// Gives back what [`Ctx::short_of_memory`] set aside.
    ///
    /// # Errors
    /// If the setting cannot be changed.
    pub fn enough_memory(&self) -> Result<()> {
        self.set(HUGE_PAGES, "0")
    }

    /// Runs a unit that takes all memory that is free and `mib` MiB more, on both CPUs, and is gone.
    ///
    /// # Errors
    /// If it does not run to its end.
    pub fn seize_memory(&self, name: &str, mib: u64) -> Result<()> {
        let half = ((memory("MemFree")? >> 20) + mib) / 2;
        let each = format!("memmon-workload seize --mib={half}");
        let script = format!("{each} & {each}; wait; true");
        // A disk that is too slow for what has to go out is reason enough for the kernel to kill somebody. Then it is
        // one of these, which has had its effect.
        let properties = ["Type=oneshot", "OOMScoreAdjust=1000", "OOMPolicy=continue"];
        self.transient_unit(name, &properties, &["/bin/sh", "-c", &script])
            .map(drop)
    }

    /// Lets kswapd run only while nothing else wants to, until the case is over: who needs memory then has to
    /// reclaim it.
    ///
    /// # Errors
    /// If there is no kswapd, or its scheduling cannot be changed.
    pub fn slow_kswapd(&self) -> Result<()> {
        let pid = shell::run("pgrep", &["--exact", "kswapd0"])?;
        let number = pid.parse().with_context(|| format!("pgrep kswapd0: {pid}"))?;
        self.undo().note(&Undo::Schedule(number))?;
        shell::run("chrt", &["--idle", "--pid", "0", &pid]).map(drop)
    }
}

/// A line of /proc/meminfo, bytes.
fn memory(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .strip_suffix(" kB")
        })
        .with_context(|| format!("no {name} in /proc/meminfo"))?;
    Ok(kib.parse::<u64>().with_context(|| format!("{name}: {kib}"))? << 10)
}
