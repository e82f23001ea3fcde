//! The kernel's own counters: /proc/vmstat.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail};

/// One reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmstat(BTreeMap<String, u64>);

impl Vmstat {
    /// Reads the counters after having every CPU add its share.
    ///
    /// # Errors
    /// If the files cannot be read or written.
    pub fn read() -> Result<Self> {
        fs::write("/proc/sys/vm/stat_refresh", "1").context("writing /proc/sys/vm/stat_refresh")?;
        let text = fs::read_to_string("/proc/vmstat").context("reading /proc/vmstat")?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let pairs = text.lines().map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        match pairs.collect() {
            Some(counters) => Ok(Self(counters)),
            None => bail!("/proc/vmstat has a line that is not a name and a number"),
        }
    }

    /// A counter; `None` if this kernel does not have it.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// How much a counter grew since `earlier`.
    ///
    /// # Errors
    /// If this kernel does not have the counter, or it fell.
    pub fn since(&self, earlier: &Self, name: &str) -> Result<u64> {
        let (Some(now), Some(then)) = (self.get(name), earlier.get(name)) else {
            bail!("/proc/vmstat has no {name}");
        };
        now.checked_sub(then)
            .with_context(|| format!("{name} fell from {then} to {now}"))
    }
}

#[cfg(test)]
#[path = "vmstat_tests.rs"]
mod tests;
