//! What holds for every host, however it looks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::build::{MIB, NOW, RAM, add, carry_out, cgroup_mut, decide, disk, host, later, swap_out, zram};
use crate::config::{Config, Priority};
use crate::decode::Limit;
use crate::policy::strategies::{StrategyAction, StrategyState, Target};
use crate::policy::{HostSnapshot, Property, SwapUse, never_touched};

#[derive(Clone, Debug)]
struct Drawn {
    slice: usize,
    priority: Priority,
    current: u64,
    low: u64,
    max: Option<u64>,
    swapped: u64,
    name: usize,
    lost: bool,
}

const SLICES: [&str; 4] = [
    "/system.slice",
    "/ai.slice",
    "/ai.slice/ai-model.slice",
    "/user.slice/user-1.slice",
];
const NAMES: [&str; 4] = ["job", "dbus", "memmon", "systemd-journald"];

fn unit() -> impl Strategy<Value = Drawn> {
    let priority = prop_oneof![
        Just(Priority::Observe),
        Just(Priority::Low),
        Just(Priority::Medium),
        Just(Priority::High),
        Just(Priority::Critical),
    ];
    (
        0..SLICES.len(),
        priority,
        0..3000_u64,
        prop_oneof![Just(0_u64), 0..3000_u64],
        proptest::option::of(0..3000_u64),
        prop_oneof![Just(0_u64), 0..500_u64],
        prop_oneof![4 => Just(0_usize), 1 => 0..NAMES.len()],
        any::<bool>(),
    )
        .prop_map(
            |(slice, priority, current, low, max, swapped, name, lost)| Drawn {
                slice,
                priority,
                current,
                low,
                max,
                swapped,
                name,
                lost,
            },
        )
}

fn any_host() -> impl Strategy<Value = HostSnapshot> {
    let swap = prop_oneof![
        Just(SwapUse::default()),
        (0..2048_u64).prop_map(disk),
        (0..2048_u64).prop_map(zram),
    ];
    (
        0..=100_u64,
        swap,
        any::<(bool, bool)>(),
        proptest::collection::vec(unit(), 0..12),
        0..2000_u64,
        proptest::option::of(0..9000_u64),
    )
        .prop_map(
            |(percent, swap, (reclaim, swappiness), units, slice_low, slice_max)| {
                let mut host = host(percent);
                host.swap = swap;
                host.kernel.reclaim = reclaim;
                host.kernel.swappiness = swappiness && reclaim;
                for (number, drawn) in units.into_iter().enumerate() {
                    let name = match NAMES[drawn.name] {
                        "job" => format!("job-{number}.service"),
                        other => format!("{other}.service"),
                    };
                    let path = format!("{}/{name}", SLICES[drawn.slice]);
                    if host.cgroups.contains_key(&path) {
                        continue;
                    }
                    add(
                        &mut host,
                        SLICES[drawn.slice],
                        &name,
                        drawn.priority,
                        drawn.current,
                    );
                    let cgroup = cgroup_mut(&mut host, &path);
                    cgroup.low = Limit::Bytes(drawn.low * MIB);
                    cgroup.max = drawn.max.map_or(Limit::Max, |max| Limit::Bytes(max * MIB));
                    swap_out(&mut host, &path, drawn.swapped);
                    if let Some(unit) = host.units.last_mut().filter(|_| drawn.lost) {
                        unit.last_critical = Some(NOW);
                    }
                }
                if let Some(slice) = host.cgroups.get_mut("/ai.slice") {
                    slice.low = Limit::Bytes(slice_low * MIB);
                    slice.max = slice_max.map_or(Limit::Max, |max| Limit::Bytes(max * MIB));
                }
                host
            },
        )
}

/// Bytes above the share of RAM at which the critical situation ends.
fn need(host: &HostSnapshot) -> u64 {
    let used = host.host.total - host.host.available;
    used.saturating_sub(RAM * MIB / 100 * 85)
}

fn check(host: &HostSnapshot, decision: &crate::policy::HostDecision) -> Result<(), TestCaseError> {
    let mut taken = 0;
    let mut from: BTreeMap<&str, u64> = BTreeMap::new();
    prop_assert!(!decision.strategies.is_empty());
    for strategy in &decision.strategies {
        prop_assert!(!strategy.reason.is_empty());
        let Some(name) = &strategy.unit else { continue };
        prop_assert!(
            never_touched(name, None).is_none()
                || matches!(strategy.target, Target::Limit(change) if change.property == Property::MemoryLow),
            "{name} is never acted upon: {strategy:?}"
        );
        let unit = host.units.iter().find(|unit| unit.unit == *name);
        if strategy.takes() {
            let unit = unit.expect("taken from a unit");
            prop_assert!(
                unit.priority > Priority::Observe && unit.priority < Priority::Critical,
                "{strategy:?}"
            );
            if strategy.action != StrategyAction::ReleaseRequest {
                let amount = strategy.amount.expect("an amount");
                taken += amount;
                for (path, _) in host.chain(&unit.cgroup) {
                    *from.entry(path).or_default() += amount;
                }
            }
        }
        if let Target::Limit(change) = strategy.target {
            match (change.property, unit) {
                // Only ever tightened, protected or raised; and never a unit that is not critical.
                (Property::MemorySwapMax, Some(unit)) => {
                    prop_assert_eq!(unit.priority, Priority::Critical);
                    prop_assert!(change.new < change.old);
                }
                (Property::MemoryHigh, Some(unit)) => {
                    prop_assert_eq!(unit.priority, Priority::Critical);
                    prop_assert!(change.new > change.old);
                    let max = host.chain(&unit.cgroup).map(|(_, cgroup)| cgroup.max).min();
                    prop_assert!(Some(change.new) <= max);
                }
                (Property::MemoryLow, Some(unit)) => {
                    prop_assert_eq!(unit.priority, Priority::Critical);
                    prop_assert!(change.new > change.old);
                }
                (Property::MemoryLow, None) => {
                    prop_assert!(name.ends_with(".slice"));
                    prop_assert!(change.new > change.old);
                }
                (_, None) => prop_assert!(false, "a limit of no unit: {strategy:?}"),
            }
        }
        if strategy.action == StrategyAction::BringBack {
            let unit = unit.expect("a unit");
            let swapped = host.cgroups[&unit.cgroup].swap.map_or(0, |swap| swap.current);
            prop_assert!(strategy.amount.expect("an amount") <= swapped);
        }
    }
    prop_assert!(
        taken <= need(host).max(critical_in_swap(host) + below_limits(host)),
        "{taken} taken, {} needed",
        need(host)
    );
    for (path, bytes) in from {
        let cgroup = &host.cgroups[path];
        let left = cgroup.current - bytes.min(cgroup.current);
        prop_assert!(
            left >= cgroup.protected().min(cgroup.current),
            "{path} below its MemoryLow"
        );
    }
    let back: u64 = decision
        .strategies
        .iter()
        .filter(|strategy| strategy.action == StrategyAction::BringBack)
        .filter_map(|strategy| strategy.amount)
        .sum();
    prop_assert!(
        back <= host.host.available.saturating_sub(RAM * MIB / 100 * 20) + RAM * MIB / 50,
        "{back}"
    );
    Ok(())
}

/// Bytes that may have to be free below the limits of slices.
fn below_limits(host: &HostSnapshot) -> u64 {
    let lost = host.units.iter().filter(|unit| unit.last_critical.is_some());
    lost.map(|unit| (host.cgroups[&unit.cgroup].current / 20).max(64 * MIB))
        .sum()
}

fn critical_in_swap(host: &HostSnapshot) -> u64 {
    let units = host
        .units
        .iter()
        .filter(|unit| unit.priority == Priority::Critical);
    units
        .filter_map(|unit| host.cgroups[&unit.cgroup].swap)
        .map(|swap| swap.current)
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_host_makes_memmon_do_harm(host in any_host()) {
        let (config, mut state) = (Config::default(), StrategyState::default());
        let first = decide(&host, &config, &mut state, NOW);
        check(&host, &first)?;
        prop_assert!(first.strategies.iter().all(|strategy| !matches!(
            strategy.target, Target::Reclaim { .. }
        )), "taken without having asked");
        carry_out(&first, &mut state, NOW);
        let second = decide(&host, &config, &mut state, later(6));
        check(&host, &second)?;
        // The same again gives the same again.
        prop_assert_eq!(&second, &decide(&host, &config, &mut state.clone(), later(6)));
    }

    #[test]
    fn a_snapshot_survives_being_written_down(host in any_host()) {
        let text = serde_json::to_string(&host).expect("it can be written");
        prop_assert_eq!(host, serde_json::from_str::<HostSnapshot>(&text).expect("and read"));
    }
}
