//! The hosts on which the obvious would do harm.

use insta::assert_snapshot;

use super::build::{
    MIB, NOW, add, after_grace, cgroup_mut, config, decide, fresh, host, lease, lines, pressure, swap_out,
    unit_mut, usual, zram,
};
use crate::config::Priority;
use crate::decode::Limit;
use crate::policy::strategies::StrategyState;
use crate::policy::{Abilities, HostSnapshot, Outlook, Property, StrategyAction, SwapUse, Target};

const SERVICE: &str = "/system.slice/omnimind.service";

#[test]
fn no_swap_device() {
    let mut host = usual(95);
    host.swap = SwapUse::default();
    assert_snapshot!(lines(&after_grace(&host)));
}

#[test]
fn zram_only_and_nearly_full() {
    let mut host = usual(95);
    host.swap = zram(2000);
    swap_out(&mut host, SERVICE, 100);
    assert_snapshot!(lines(&after_grace(&host)));
}

#[test]
fn what_zswap_may_not_keep_goes_to_disk_and_is_told_so() {
    let mut host = usual(95);
    host.swap = SwapUse {
        zswap_stored: Some(0),
        ..host.swap
    };
    let steps = |host: &HostSnapshot| {
        let decision = after_grace(host).strategies.into_iter();
        let of_batch = decision.filter(|strategy| strategy.unit.as_deref() == Some("batch.service"));
        of_batch
            .map(|strategy| (strategy.action, strategy.target == Target::Advice))
            .collect::<Vec<_>>()
    };
    assert!(steps(&host).contains(&(StrategyAction::Compress, false)));
    unit_mut(&mut host, "batch.service").zswap_room = Some(0);
    let told = steps(&host);
    assert!(told.contains(&(StrategyAction::PageOut, false)), "{told:?}");
    assert!(told.contains(&(StrategyAction::Compress, true)), "{told:?}");
}

#[test]
fn everything_critical() {
    let mut host = usual(95);
    for unit in &mut host.units {
        unit.priority = Priority::Critical;
    }
    // Together they use more than can be spared to anybody.
    cgroup_mut(&mut host, "/system.slice/batch.service").current = 6000 * MIB;
    assert_snapshot!(lines(&fresh(&host)));
}

#[test]
fn swap_of_critical_units_stays_where_nobody_else_can_give() {
    let stops = |others| {
        let mut host = host(95);
        add(
            &mut host,
            "/system.slice",
            "omnimind.service",
            Priority::Critical,
            6000,
        );
        add(&mut host, "/system.slice", "batch.service", Priority::Low, others);
        unit_mut(&mut host, "omnimind.service").cache = 0;
        let decision = fresh(&host);
        let stops = |strategy: &crate::policy::Strategy| matches!(strategy.target, Target::Limit(change) if change.property == Property::MemorySwapMax);
        decision.strategies.iter().any(stops)
    };
    // Needed are 819 MiB; of batch.service eleven twelfths can be reclaimed.
    assert_eq!([800, 900].map(stops), [false, true]);
    let mut host = host(95);
    add(
        &mut host,
        "/system.slice",
        "omnimind.service",
        Priority::Critical,
        6000,
    );
    unit_mut(&mut host, "omnimind.service").cache = 0;
    assert_snapshot!(lines(&fresh(&host)));
}

#[test]
fn nothing_running() {
    assert_snapshot!(lines(&fresh(&host(95))));
}

#[test]
fn everything_observed() {
    let mut host = usual(95);
    for unit in &mut host.units {
        unit.priority = Priority::Observe;
    }
    assert_snapshot!(lines(&fresh(&host)));
}

#[test]
fn unit_at_memory_max() {
    let mut host = usual(95);
    cgroup_mut(&mut host, SERVICE).max = Limit::Bytes(2010 * MIB);
    assert_snapshot!(lines(&fresh(&host)));
}

#[test]
fn unit_at_memory_high_with_swap_high() {
    let mut host = usual(50);
    host.swap.disk_reserved = host.swap.disk_total / 4 * 3;
    swap_out(&mut host, SERVICE, 400);
    cgroup_mut(&mut host, SERVICE).high = Limit::Bytes(2000 * MIB);
    assert_snapshot!(lines(&fresh(&host)));
}

#[test]
fn nested_slices() {
    let mut host = host(92);
    add(
        &mut host,
        "/ai.slice/ai-model.slice",
        "embed.service",
        Priority::Critical,
        1000,
    );
    add(
        &mut host,
        "/ai.slice/ai-model.slice",
        "rank.service",
        Priority::Low,
        900,
    );
    add(&mut host, "/ai.slice", "api.service", Priority::Critical, 500);
    add(
        &mut host,
        "/user.slice/user-1000.slice",
        "user@1000.service",
        Priority::Low,
        700,
    );
    // The operator has granted the outer slice something, and a sibling needs part of it.
    cgroup_mut(&mut host, "/ai.slice").low = Limit::Bytes(600 * MIB);
    assert_snapshot!(lines(&after_grace(&host)));
}

#[test]
fn a_limit_set_by_the_operator() {
    let mut host = usual(95);
    // Less swap than memmon would allow, more protection than it would grant, a low unit that is spared.
    if let Some(swap) = &mut cgroup_mut(&mut host, SERVICE).swap {
        swap.max = Limit::Bytes(0);
    }
    cgroup_mut(&mut host, SERVICE).low = Limit::Bytes(2000 * MIB);
    cgroup_mut(&mut host, "/system.slice").low = Limit::Max;
    cgroup_mut(&mut host, "/system.slice/batch.service").min = Limit::Bytes(1150 * MIB);
    assert_snapshot!(lines(&after_grace(&host)));
}

#[test]
fn protection_of_a_slice_spares_what_is_in_it() {
    let mut host = usual(95);
    cgroup_mut(&mut host, "/system.slice").low = Limit::Max;
    let decision = after_grace(&host);
    let taken = decision.strategies.iter().find(|strategy| strategy.takes());
    assert_eq!(taken, None);
}

#[test]
fn two_agents() {
    // Another agent has changed what this one had set.
    let mut host = usual(95);
    lease(
        &mut host,
        "omnimind.service",
        SERVICE,
        Property::MemorySwapMax,
        Limit::Max,
        Limit::Bytes(0),
    );
    lease(
        &mut host,
        "omnimind.service",
        SERVICE,
        Property::MemoryLow,
        Limit::Bytes(0),
        Limit::Bytes(1500 * MIB),
    );
    lease(
        &mut host,
        "system.slice",
        "/system.slice",
        Property::MemoryLow,
        Limit::Bytes(0),
        Limit::Bytes(1500 * MIB),
    );
    let cgroup = cgroup_mut(&mut host, SERVICE);
    cgroup.low = Limit::Bytes(700 * MIB);
    if let Some(swap) = &mut cgroup.swap {
        swap.max = Limit::Bytes(300 * MIB);
    }
    assert_snapshot!(lines(&fresh(&host)));
}

#[test]
fn an_imagined_lease_is_as_good_as_a_real_one() {
    let mut real = usual(95);
    lease(
        &mut real,
        "omnimind.service",
        SERVICE,
        Property::MemorySwapMax,
        Limit::Max,
        Limit::Bytes(0),
    );
    let mut dry = real.clone();
    if let Some(swap) = &mut cgroup_mut(&mut dry, SERVICE).swap {
        swap.max = Limit::Max;
    }
    dry.imagine_leases();
    assert_eq!(fresh(&dry), fresh(&real));
}

#[test]
fn an_old_kernel_can_only_be_asked_for() {
    let mut host = usual(95);
    host.kernel = Abilities::default();
    assert_snapshot!(lines(&after_grace(&host)));
}

#[test]
fn without_swappiness_cache_is_not_taken_alone() {
    let mut host = usual(91);
    host.kernel.swappiness = false;
    assert_snapshot!(lines(&after_grace(&host)));
}

#[test]
fn who_thrashes_is_passed_over() {
    let mut host = usual(92);
    unit_mut(&mut host, "batch.service").pressure = Some(pressure(40.0));
    assert_snapshot!(lines(&after_grace(&host)));
}

#[test]
fn a_missing_ancestor_means_hands_off() {
    let mut host = usual(95);
    host.cgroups.remove("/system.slice");
    let decision = after_grace(&host);
    let acts = |strategy: &&crate::policy::Strategy| strategy.takes();
    assert_eq!(decision.strategies.iter().find(acts), None);
}

#[test]
fn the_bus_and_the_agent_itself_are_never_acted_upon() {
    let mut host = host(95);
    for name in [
        "dbus.service",
        "memmon.service",
        "systemd-journald.service",
        "agent.service",
    ] {
        add(&mut host, "/system.slice", name, Priority::Low, 500);
    }
    host.own_unit = Some("agent.service".into());
    assert_snapshot!(lines(&fresh(&host)));
}

#[test]
fn alarm_only_touches_no_critical_unit() {
    let host = usual(95);
    let config = config("[reaction]\non_critical_swap = 'alarm-only'");
    let decision = decide(&host, &config, &mut StrategyState::default(), NOW);
    let touched = |strategy: &&crate::policy::Strategy| strategy.unit.as_deref() == Some("omnimind.service");
    assert_eq!(decision.strategies.iter().find(touched), None);
    assert!(
        decision
            .strategies
            .iter()
            .any(|strategy| strategy.reason.contains("alarm-only"))
    );
}

#[test]
fn expired_leases_end_when_it_is_normal() {
    let mut host = usual(50);
    lease(
        &mut host,
        "omnimind.service",
        SERVICE,
        Property::MemorySwapMax,
        Limit::Max,
        Limit::Bytes(0),
    );
    lease(
        &mut host,
        "system.slice",
        "/system.slice",
        Property::MemoryLow,
        Limit::Bytes(0),
        Limit::Bytes(1500 * MIB),
    );
    assert_snapshot!(lines(&fresh(&host)));
}

fn ahead(text: &str, outlook: Option<Outlook>) -> Vec<(StrategyAction, Option<String>)> {
    let mut host: HostSnapshot = usual(70);
    host.outlook = outlook;
    let decision = decide(&host, &config(text), &mut StrategyState::default(), NOW);
    decision
        .strategies
        .into_iter()
        .map(|strategy| (strategy.action, strategy.unit))
        .collect()
}

#[test]
fn ahead_of_need_only_where_switched_on_and_only_low_units() {
    let soon = Some(Outlook {
        earliest: 300,
        latest: 900,
    });
    let far = Some(Outlook {
        earliest: 3000,
        latest: 9000,
    });
    let nothing = vec![(StrategyAction::None, None)];
    assert_eq!(ahead("", soon), nothing, "off by default");
    assert_eq!(ahead("[proactive]\nenabled = true", None), nothing, "no trend");
    assert_eq!(
        ahead("[proactive]\nenabled = true", far),
        nothing,
        "beyond the horizon"
    );
    assert_eq!(
        ahead("[proactive]\nenabled = true", soon),
        [(StrategyAction::ReleaseRequest, Some("batch.service".into()))]
    );
}

#[test]
fn anonymous_memory_of_units_with_tagged_regions_stays_from_medium_on() {
    let steps = |priority| {
        // Alone, so that neither cache nor anybody else's memory is enough.
        let mut host = host(95);
        add(&mut host, "/system.slice", "tagger.service", priority, 1200);
        let tagger = unit_mut(&mut host, "tagger.service");
        (tagger.tagged, tagger.cache) = (true, 16 * MIB);
        let decision = after_grace(&host);
        let of = |action| {
            let steps = &decision.strategies;
            steps.iter().any(|strategy| strategy.action == action)
        };
        (of(StrategyAction::ReclaimCache), of(StrategyAction::PageOut))
    };
    let priorities = [Priority::Low, Priority::Medium, Priority::High];
    assert_eq!(
        priorities.map(steps),
        [(true, true), (true, false), (true, false)]
    );
}
