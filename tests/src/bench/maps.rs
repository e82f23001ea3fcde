//! Kernel memory of the maps: what the kernel says here, and what its layout makes of it elsewhere.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};

use super::{cost, float, report::Table};
use crate::live::context::Context;

/// CPUs of the big machine that is computed.
const MANY_CPUS: u64 = 128;
const MIB: f64 = 1024.0 * 1024.0;
/// `struct htab_elem` without key and value (kernel/bpf/hashtab.c).
const ELEMENT: u64 = 48;
/// `struct bucket`.
const BUCKET: u64 = 16;
/// The kernel's map types (include/uapi/linux/bpf.h).
const HASH: u64 = 1;
const ARRAY: u64 = 2;
const PERCPU_HASH: u64 = 5;
const PERCPU_ARRAY: u64 = 6;
const RINGBUF: u64 = 27;

/// A map as its `fdinfo` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Map {
    kind: u64,
    key: u64,
    value: u64,
    entries: u64,
    memory: u64,
}

impl Map {
    /// `None` if this is no map.
    fn parse(fdinfo: &str) -> Option<(u64, Self)> {
        let field = |name: &str| {
            let line = fdinfo
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().parse::<u64>().ok()
        };
        let map = Self {
            kind: field("map_type")?,
            key: field("key_size")?,
            value: field("value_size")?,
            entries: field("max_entries")?,
            memory: field("memlock")?,
        };
        Some((field("map_id")?, map))
    }

    fn kind(&self) -> &'static str {
        match self.kind {
            HASH => "hash",
            ARRAY => "array",
            PERCPU_HASH => "per-CPU hash",
            PERCPU_ARRAY => "per-CPU array",
            RINGBUF => "ring buffer",
            _ => "other",
        }
    }

    /// Bytes with `cpus` possible CPUs, as the kernel lays preallocated maps out; what is not per CPU is as here.
    fn computed(&self, cpus: u64) -> u64 {
        let round8 = |bytes: u64| bytes.next_multiple_of(8);
        match self.kind {
            PERCPU_HASH => {
                let element = ELEMENT + round8(self.key) + 8; // A pointer to the values.
                self.entries.next_power_of_two() * BUCKET
                    + self.entries * (element + round8(self.value) * cpus)
            }
            PERCPU_ARRAY => self.entries * (8 + round8(self.value) * cpus),
            _ => self.memory,
        }
    }
}

/// Every map that this process holds a descriptor of, by its id.
fn held() -> Result<BTreeMap<u64, Map>> {
    let entries = fs::read_dir("/proc/self/fdinfo").context("reading /proc/self/fdinfo")?;
    Ok(entries
        .filter_map(|entry| Map::parse(&fs::read_to_string(entry.ok()?.path()).ok()?))
        .collect())
}

/// The highest number that CPUs here may have, plus one (`0-3` → 4).
fn possible_cpus() -> Result<u64> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit(['-', ',']).next().unwrap_or_default();
    Ok(last.parse::<u64>().with_context(|| text.clone())? + 1)
}

pub(super) fn measure(context: &Context, _: usize) -> Result<Table> {
    let (probes, _rings) = cost::agent_mode(context)?;
    let maps = held()?;
    drop(probes);
    ensure!(!maps.is_empty(), "no maps");
    let cpus = possible_cpus()?;
    let mut table = Table::new(
        "Kernel memory of the maps",
        &[
            "map",
            "entries or bytes",
            "measured here",
            &format!("computed, {cpus} CPUs"),
            &format!("computed, {MANY_CPUS} CPUs"),
        ],
        &format!(
            "MiB. Measured: `memlock` of each map's fdinfo, with {cpus} possible CPUs. Computed: the kernel's layout of \
             preallocated maps; the column for {cpus} CPUs shows how well it agrees."
        ),
    );
    let mut sums = [0; 3];
    let mut sorted: Vec<&Map> = maps.values().collect();
    sorted.sort_by_key(|map| std::cmp::Reverse(map.memory));
    for map in sorted {
        let bytes = [map.memory, map.computed(cpus), map.computed(MANY_CPUS)];
        for (sum, bytes) in sums.iter_mut().zip(bytes) {
            *sum += bytes;
        }
        if bytes[2] >= 64 << 10 {
            let name = format!("{}, {} → {} bytes", map.kind(), map.key, map.value);
            table.row([name, map.entries.to_string()].into_iter().chain(bytes.map(mib)));
        }
    }
    table.row(
        [format!("all {}", maps.len()), String::new()]
            .into_iter()
            .chain(sums.map(mib)),
    );
    Ok(table)
}

fn mib(bytes: u64) -> String {
    format!("{:.2}", float(bytes) / MIB)
}

#[cfg(test)]
#[path = "maps_tests.rs"]
mod tests;
