//! Limits and leases, as the kernel, systemd and the lease file have them.

use std::{fs, io, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::LEASES;
use crate::guest::{Ctx, units::Unit};

/// The leases on record, by the lease file alone; none if there is no file.
///
/// # Errors
/// If the file is not what the agent writes.
pub fn leases() -> Result<Vec<Value>> {
    let text = match fs::read_to_string(LEASES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("reading {LEASES}"))?,
    };
    let mut live: Vec<Value> = Vec::new();
    for line in text.lines() {
        let entry: Value =
            serde_json::from_str(line).with_context(|| format!("a line of {LEASES}: {line}"))?;
        let (lease, ended) = (entry.get("lease"), entry.get("ended"));
        let id = match (lease, ended) {
            (Some(lease), None) => lease.get("id"),
            (None, Some(id)) => Some(id),
            _ => None,
        };
        let Some(id) = id else {
            bail!("a line of {LEASES} is neither a lease nor its end: {line}");
        };
        live.retain(|known| known.get("id") != Some(id));
        live.extend(lease.cloned());
    }
    Ok(live)
}

/// The leases of one unit.
///
/// # Errors
/// As [`leases`].
pub fn leases_of(unit: &Unit) -> Result<Vec<Value>> {
    let mut leases = leases()?;
    leases.retain(|lease| lease.get("unit").and_then(Value::as_str) == Some(unit.name()));
    Ok(leases)
}

/// A unit's swap limit as the kernel and as systemd have it, and memmon's traces in systemd's directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapLimit {
    /// memory.swap.max.
    pub file: String,
    /// MemorySwapMax.
    pub property: String,
    /// Drop-ins that `SetUnitProperties` wrote.
    pub drop_ins: Vec<PathBuf>,
}

impl SwapLimit {
    /// As it is now.
    ///
    /// # Errors
    /// If the unit is not running.
    pub fn of(unit: &Unit) -> Result<Self> {
        Ok(Self {
            file: unit.cgroup()?.read("memory.swap.max")?,
            property: unit.property("MemorySwapMax")?,
            drop_ins: drop_ins(unit),
        })
    }

    /// No limit, and no trace of one.
    pub fn untouched() -> Self {
        Self {
            file: "max".to_owned(),
            property: "infinity".to_owned(),
            drop_ins: Vec::new(),
        }
    }
}

/// The files that `SetUnitProperties(MemorySwapMax, runtime)` may have left for a unit.
fn drop_ins(unit: &Unit) -> Vec<PathBuf> {
    ["/run/systemd/system.control", "/run/systemd/transient"]
        .map(|directory| {
            PathBuf::from(directory)
                .join(format!("{}.d", unit.name()))
                .join("50-MemorySwapMax.conf")
        })
        .into_iter()
        .filter(|path| path.exists())
        .collect()
}

impl Ctx {
    /// Waits until the kernel and systemd agree that the unit may not swap, and the lease says so.
    ///
    /// # Errors
    /// If that does not happen, or the lease file is damaged.
    pub fn wait_tightened(&self, unit: &Unit) -> Result<()> {
        let cgroup = unit.cgroup()?;
        self.wait(&format!("{} may not swap", unit.name()), || {
            Ok((cgroup.read("memory.swap.max")? == "0").then_some(()))
        })?;
        self.wait(&format!("MemorySwapMax of {} is 0", unit.name()), || {
            Ok((unit.property("MemorySwapMax")? == "0").then_some(()))
        })?;
        self.wait(&format!("the lease on {} is official", unit.name()), || {
            let official = |lease: &Value| lease.get("state").and_then(Value::as_str) == Some("official");
            Ok(leases_of(unit)?.iter().any(official).then_some(()))
        })
    }

    /// Waits until the unit's limit is `wanted` and no lease on it is left.
    ///
    /// # Errors
    /// If that does not happen; the message says how it is instead.
    pub fn wait_limit(&self, unit: &Unit, wanted: &SwapLimit) -> Result<()> {
        let mut seen = None;
        let waited = self.wait(
            &format!("the limit of {} is as it should be", unit.name()),
            || {
                let now = SwapLimit::of(unit)?;
                let done = now == *wanted && leases_of(unit)?.is_empty();
                seen = Some(now);
                Ok(done.then_some(()))
            },
        );
        waited.with_context(|| format!("wanted {wanted:?}, seen {seen:?}, leases {:?}", leases_of(unit)))
    }

    /// That memmon holds a limit of the unit.
    ///
    /// # Errors
    /// If it does not.
    pub fn require_lease(&self, unit: &Unit) -> Result<()> {
        let leases = leases_of(unit)?;
        ensure!(!leases.is_empty(), "no lease on {}", unit.name());
        Ok(())
    }

    /// As [`Ctx::wait_limit`], at once: what must already be so.
    ///
    /// # Errors
    /// If it is not.
    pub fn require_limit(&self, unit: &Unit, wanted: &SwapLimit) -> Result<()> {
        let (now, leases) = (SwapLimit::of(unit)?, leases_of(unit)?);
        ensure!(
            now == *wanted && leases.is_empty(),
            "{}: wanted {wanted:?}, seen {now:?}, leases {leases:?}",
            unit.name()
        );
        Ok(())
    }
}
