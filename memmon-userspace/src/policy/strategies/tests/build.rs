//! Builders: hosts of 8 GiB, sizes in MiB.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Config, OnCriticalSwap, Priority};
use crate::decode::{Limit, MemInfo, Pressure, PressureLine, SwapLevel};
use crate::policy::strategies::{HostDecision, Rules, StrategyState, strategies};
use crate::policy::{
    Abilities, CgroupView, HostLease, HostSnapshot, LeaseId, LeaseView, MonoTime, Property, SwapUse, UnitView,
};

pub(super) const MIB: u64 = 1 << 20;
pub(super) const NOW: MonoTime = MonoTime(1_000_000_000_000);
pub(super) const RAM: u64 = 8192;

pub(super) fn later(seconds: u64) -> MonoTime {
    NOW.after(Duration::from_secs(seconds))
}

/// A disk of 2 GiB with `used` MiB in it.
pub(super) fn disk(used: u64) -> SwapUse {
    SwapUse {
        disk_total: 2048 * MIB,
        disk_reserved: used * MIB,
        ..SwapUse::default()
    }
}

/// A zram device of 2 GiB with `used` MiB in it.
pub(super) fn zram(used: u64) -> SwapUse {
    SwapUse {
        zram_total: 2048 * MIB,
        zram_used: used * MIB,
        ..SwapUse::default()
    }
}

/// A host with `percent` of its RAM in use, a disk to swap to, and a kernel that can do everything.
pub(super) fn host(percent: u64) -> HostSnapshot {
    HostSnapshot {
        host: MemInfo {
            total: RAM * MIB,
            available: RAM * MIB / 100 * (100 - percent),
            ..MemInfo::default()
        },
        swap: disk(100),
        kernel: Abilities {
            reclaim: true,
            swappiness: true,
        },
        ..HostSnapshot::default()
    }
}

pub(super) fn cgroup(current: u64) -> CgroupView {
    CgroupView {
        id: 0,
        current: current * MIB,
        max: Limit::Max,
        high: Limit::Max,
        low: Limit::Bytes(0),
        min: Limit::Bytes(0),
        swap: Some(SwapLevel {
            max: Limit::Max,
            current: 0,
        }),
    }
}

pub(super) fn pressure(avg10: f64) -> Pressure {
    Pressure {
        some: PressureLine {
            avg10,
            avg60: avg10,
            ..PressureLine::default()
        },
        ..Pressure::default()
    }
}

/// Adds a unit of `current` MiB in `slice`: two thirds anonymous, a quarter cache, half of that idle. The slice
/// and those above it grow by as much.
pub(super) fn add(host: &mut HostSnapshot, slice: &str, name: &str, priority: Priority, current: u64) {
    let mut path = String::new();
    for part in slice.split('/').filter(|part| !part.is_empty()) {
        path = format!("{path}/{part}");
        let next = 100 + host.cgroups.len() as u64;
        let slice = host.cgroups.entry(path.clone()).or_insert_with(|| CgroupView {
            id: next,
            ..cgroup(0)
        });
        slice.current += current * MIB;
    }
    let path = format!("{path}/{name}");
    let id = 100 + host.cgroups.len() as u64;
    host.cgroups.insert(
        path.clone(),
        CgroupView {
            id,
            ..cgroup(current)
        },
    );
    host.units.push(UnitView {
        unit: name.to_owned(),
        priority,
        cgroup: path,
        anon: current * MIB * 2 / 3,
        cache: current * MIB / 4,
        idle_cache: current * MIB / 8,
        pressure: Some(pressure(0.0)),
        below: Vec::new(),
        below_complete: true,
        zswap_room: None,
        tagged: false,
        theirs: None,
        last_critical: None,
    });
}

/// The usual company: one unit of each priority, all in `system.slice`.
pub(super) fn usual(percent: u64) -> HostSnapshot {
    let mut host = host(percent);
    for (name, priority, current) in [
        ("omnimind.service", Priority::Critical, 2000),
        ("omnimind-daemon.service", Priority::High, 800),
        ("omnimind-frontend.service", Priority::Medium, 600),
        ("batch.service", Priority::Low, 1200),
        ("indexer.service", Priority::Low, 300),
        ("sshd.service", Priority::Observe, 50),
    ] {
        add(&mut host, "/system.slice", name, priority, current);
    }
    host
}

pub(super) fn unit_mut<'a>(host: &'a mut HostSnapshot, name: &str) -> &'a mut UnitView {
    host.units
        .iter_mut()
        .find(|unit| unit.unit == name)
        .expect("the unit is there")
}

pub(super) fn cgroup_mut<'a>(host: &'a mut HostSnapshot, path: &str) -> &'a mut CgroupView {
    host.cgroups.get_mut(path).expect("the cgroup is there")
}

/// Puts `swapped` MiB of the unit at `path` into swap.
pub(super) fn swap_out(host: &mut HostSnapshot, path: &str, swapped: u64) {
    if let Some(swap) = &mut cgroup_mut(host, path).swap {
        swap.current = swapped * MIB;
    }
}

pub(super) fn lease(
    host: &mut HostSnapshot,
    unit: &str,
    path: &str,
    property: Property,
    old: Limit,
    new: Limit,
) {
    let cgroup = cgroup_mut(host, path);
    let id = cgroup.id;
    match (property, &mut cgroup.swap) {
        (Property::MemoryLow, _) => cgroup.low = new,
        (Property::MemoryHigh, _) => cgroup.high = new,
        (Property::MemorySwapMax, swap) => {
            if let Some(swap) = swap {
                swap.max = new;
            }
        }
    }
    host.leases.push(HostLease {
        unit: unit.to_owned(),
        cgroup: path.to_owned(),
        lease: LeaseView {
            id: LeaseId(host.leases.len() as u64 + 1),
            property,
            cgroup_id: id,
            old,
            new,
            mode: OnCriticalSwap::Auto,
            deadline: NOW,
        },
    });
}

pub(super) fn config(text: &str) -> Config {
    Config::from_text("test.toml", text).expect("valid")
}

/// The decision about `snapshot` with an empty memory and the shipped rules.
pub(super) fn fresh(snapshot: &HostSnapshot) -> HostDecision {
    decide(snapshot, &Config::default(), &mut StrategyState::default(), NOW)
}

/// The decision once everybody was asked and the grace is over.
pub(super) fn after_grace(snapshot: &HostSnapshot) -> HostDecision {
    let (config, mut state) = (Config::default(), StrategyState::default());
    carry_out(&decide(snapshot, &config, &mut state, NOW), &mut state, NOW);
    decide(snapshot, &config, &mut state, later(6))
}

pub(super) fn decide(
    snapshot: &HostSnapshot,
    config: &Config,
    state: &mut StrategyState,
    now: MonoTime,
) -> HostDecision {
    let rules = Rules::from(config);
    state.observe(snapshot, &rules, now);
    strategies(snapshot, &rules, state, now)
}

/// Begins everything that was decided.
pub(super) fn carry_out(decision: &HostDecision, state: &mut StrategyState, now: MonoTime) {
    for strategy in &decision.strategies {
        state.begun(strategy, now);
    }
}

/// One line per strategy, as a report would show them.
pub(super) fn lines(decision: &HostDecision) -> String {
    let situation = decision.situation;
    let mut text = format!(
        "situation {}{}\n",
        situation.ram.as_str(),
        if situation.swap_high { ", swap high" } else { "" }
    );
    for strategy in &decision.strategies {
        text.push_str(&format!(
            "{:<16}{:<28}{:<10}{:?}\n    {}\n",
            strategy.action.as_str(),
            strategy.unit.as_deref().unwrap_or("-"),
            strategy.amount.map_or_else(
                || "-".to_owned(),
                |bytes| format!("{:.1} MiB", bytes as f64 / MIB as f64)
            ),
            strategy.target,
            strategy.reason
        ));
    }
    text
}

/// Bytes by action.
pub(super) fn totals(decision: &HostDecision) -> BTreeMap<&'static str, u64> {
    let mut totals = BTreeMap::new();
    for strategy in &decision.strategies {
        *totals.entry(strategy.action.as_str()).or_insert(0) += strategy.amount.unwrap_or(0);
    }
    totals
}
