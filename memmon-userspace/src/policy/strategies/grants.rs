//! `MemoryLow` for critical units, granted along their ancestors.

use std::collections::BTreeMap;

use super::StrategyAction;
use super::ledger::Ledger;
use crate::decode::Limit;
use crate::policy::headroom::Size;
use crate::policy::host::{HostSnapshot, UnitView, ancestry};
use crate::policy::{LimitChange, Property};

/// Of the host's RAM all grants together leave a tenth alone: with everything protected nothing is.
const LEFT_ALONE: u64 = 10;
/// A grant is raised again only when it has fallen short by a twentieth and this much.
const LEAST_RAISE: u64 = 16 << 20;
/// Limits are whole pages.
const PAGE: u64 = 4096;

/// Spares each critical unit its working set. The kernel honours `memory.low` of a cgroup only as far as every
/// ancestor is granted as much (Documentation/admin-guide/cgroup-v2.rst), so those get the sum of what their
/// children have, and not more: what a slice has beyond it would be shared out among the children.
pub(super) fn memory_low(ledger: &mut Ledger<'_>) {
    let snapshot = ledger.snapshot;
    let mut lows: BTreeMap<&str, u64> = BTreeMap::new();
    let mut left = snapshot.host.total - snapshot.host.total / LEFT_ALONE;
    let mut raised: Vec<(&UnitView, u64)> = Vec::new();
    for unit in ledger.critical() {
        let Some(own) = snapshot.cgroups.get(&unit.cgroup) else {
            continue;
        };
        let granted = own.low.bytes().unwrap_or(u64::MAX).min(own.current);
        if ledger.lease(&unit.cgroup, Property::MemoryLow) == Some(false) {
            ledger.idle(format!(
                "MemoryLow of {} was changed after memmon: kept",
                unit.unit
            ));
            left = left.saturating_sub(granted);
            continue;
        }
        let ceiling = snapshot.chain(&unit.cgroup).map(|(_, cgroup)| cgroup.max).min();
        let working_set = own
            .current
            .saturating_sub(unit.idle_cache)
            .min(ceiling.and_then(Limit::bytes).unwrap_or(u64::MAX));
        let want = working_set.min(left) / PAGE * PAGE;
        left = left.saturating_sub(want.max(granted));
        if want > granted && want - granted >= LEAST_RAISE.max(granted / 20) {
            raised.push((unit, want));
            lows.insert(&unit.cgroup, want);
        }
    }
    let slices: Vec<(&str, u64)> = slices_of(snapshot, &lows);
    let deadline = ledger.now.after(ledger.rules.reaction.hold);
    for (path, new) in slices {
        let Some(old) = snapshot.cgroups.get(path).map(|cgroup| cgroup.low) else {
            continue;
        };
        let unit = unit_of(path);
        if ledger.lease(path, Property::MemoryLow) == Some(false) {
            ledger.idle(format!(
                "MemoryLow of {unit} was changed after memmon: kept, so units in it are not spared"
            ));
            continue;
        }
        let change = LimitChange {
            property: Property::MemoryLow,
            old,
            new: Limit::Bytes(new),
            deadline,
        };
        let reason = format!(
            "MemoryLow of a unit holds only as far as {unit} above it is granted as much, and its critical units need {}",
            Size(new)
        );
        ledger.change(StrategyAction::Protect, unit, path, change, reason);
    }
    for (unit, new) in raised {
        let Some(own) = snapshot.cgroups.get(&unit.cgroup) else {
            continue;
        };
        let change = LimitChange {
            property: Property::MemoryLow,
            old: own.low,
            new: Limit::Bytes(new),
            deadline,
        };
        let reason = format!(
            "{} is critical: {} of its {} are in use and are spared while others can be reclaimed",
            unit.unit,
            Size(new),
            Size(own.current)
        );
        ledger.change(StrategyAction::Protect, &unit.unit, &unit.cgroup, change, reason);
    }
}

/// The slices above the cgroups in `lows` that have to be granted more, outermost first, and how much.
fn slices_of<'a>(snapshot: &'a HostSnapshot, lows: &BTreeMap<&'a str, u64>) -> Vec<(&'a str, u64)> {
    // Innermost first: what a slice is given counts for the one above it.
    let mut above: Vec<&str> = lows.keys().flat_map(|path| ancestry(path).skip(1)).collect();
    above.sort_by_key(|path| (std::cmp::Reverse(path.matches('/').count()), *path));
    above.dedup();
    let mut granted = lows.clone();
    let mut slices = Vec::new();
    for slice in above {
        let Some(own) = snapshot.cgroups.get(slice) else {
            continue;
        };
        let needed = snapshot
            .cgroups
            .range(format!("{slice}/")..format!("{slice}0"))
            .filter(|(path, _)| !path[slice.len() + 1..].contains('/'))
            .map(|(path, child)| {
                let low = granted
                    .get(path.as_str())
                    .copied()
                    .unwrap_or_else(|| child.low.bytes().unwrap_or(u64::MAX));
                low.min(child.current)
            })
            .fold(0, u64::saturating_add);
        let has = own.low.bytes().unwrap_or(u64::MAX);
        granted.insert(slice, has.max(needed));
        if needed > has && unit_of(slice).ends_with(".slice") {
            slices.push((slice, needed));
        }
    }
    slices.reverse();
    slices
}

/// The slice that a cgroup path names.
fn unit_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
