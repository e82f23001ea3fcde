//! Whole decisions, as snapshots.

use insta::assert_json_snapshot;

use super::super::test_support::*;
use super::super::{Decision, decide};
use super::*;
use crate::config::Priority;
use crate::decode::Level;
use crate::policy::Region;

#[path = "reflex_theirs_tests.rs"]
mod theirs;

fn auto(snapshot: &Snapshot) -> Decision {
    decide(snapshot, &reaction(OnCriticalSwap::Auto), &State::default(), NOW)
}

fn with(event: CriticalEvent) -> Snapshot {
    Snapshot {
        event: Some(event),
        ..snapshot()
    }
}

fn limit_of(relation: Relation, reclaimer: &str) -> CriticalEvent {
    event(ReclaimKind::Limit, relation, Some(reclaimer), "python3")
}

fn names(decision: &Decision) -> Vec<&'static str> {
    decision
        .actions
        .iter()
        .map(|planned| planned.action.as_str())
        .collect()
}

#[test]
fn kswapd_and_no_limit_anywhere() {
    assert_json_snapshot!(auto(&with(kswapd())));
}

#[test]
fn kswapd_with_headroom() {
    let mut snapshot = with(kswapd());
    snapshot.chain[0].max = Limit::Bytes(2200 * MIB);
    snapshot.chain[1].high = Limit::Bytes(4000 * MIB);
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn direct_reclaim_by_another_unit() {
    assert_json_snapshot!(auto(&with(event(
        ReclaimKind::Direct,
        Relation::Elsewhere,
        Some("backup.service"),
        "tar"
    ))));
}

#[test]
fn memory_reclaim_from_a_shell() {
    assert_json_snapshot!(auto(&with(event(
        ReclaimKind::Proactive,
        Relation::Elsewhere,
        Some("session-3.scope"),
        "bash"
    ))));
}

#[test]
fn process_madvise_from_outside() {
    assert_json_snapshot!(auto(&with(event(
        ReclaimKind::Madvise,
        Relation::Elsewhere,
        Some("session-3.scope"),
        "pageout"
    ))));
}

#[test]
fn own_limit_at_memory_max() {
    let mut snapshot = with(limit_of(Relation::Unit, UNIT));
    snapshot.chain[0].max = Limit::Bytes(2000 * MIB + 16384);
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn under_a_slice_with_the_limit() {
    let mut snapshot = with(limit_of(Relation::Ancestor, "ai.slice"));
    snapshot.chain[1].max = Limit::Bytes(3000 * MIB);
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn a_nested_cgroup_at_its_own_limit() {
    let mut snapshot = with(limit_of(Relation::Below, "/ai.slice/omnimind.service/worker"));
    snapshot.below = vec![Level {
        max: Limit::Bytes(100 * MIB),
        ..level("/ai.slice/omnimind.service/worker", 100 * MIB)
    }];
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn at_memory_high_it_is_raised() {
    let mut snapshot = with(limit_of(Relation::Unit, UNIT));
    snapshot.chain[0].high = Limit::Bytes(2001 * MIB);
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn memory_high_is_not_raised_above_the_effective_memory_max() {
    let mut snapshot = with(limit_of(Relation::Unit, UNIT));
    snapshot.chain[0].high = Limit::Bytes(2001 * MIB);
    snapshot.chain[0].max = Limit::Bytes(2100 * MIB);
    snapshot.chain[1].max = Limit::Bytes(2050 * MIB);
    snapshot.chain[1].current = 1900 * MIB;
    let decision = auto(&snapshot);
    assert_eq!(
        decision.actions[0].action.change().map(|change| change.new),
        Some(Limit::Bytes(2050 * MIB))
    );
    snapshot.chain[1].max = Limit::Bytes(2001 * MIB);
    snapshot.chain[1].current = 100 * MIB;
    assert_eq!(names(&auto(&snapshot)), ["none"]);
}

#[test]
fn memory_high_is_not_raised_when_the_host_has_no_room() {
    let mut snapshot = with(limit_of(Relation::Unit, UNIT));
    snapshot.chain[0].high = Limit::Bytes(2001 * MIB);
    snapshot.host.available = 900 * MIB;
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn memory_high_is_raised_once() {
    let mut snapshot = with(limit_of(Relation::Unit, UNIT));
    snapshot.chain[0].high = Limit::Bytes(2001 * MIB);
    let leased = lease(
        Property::MemoryHigh,
        Limit::Bytes(1900 * MIB),
        Limit::Bytes(2001 * MIB),
        OnCriticalSwap::Auto,
    );
    let decision = decide(
        &snapshot,
        &reaction(OnCriticalSwap::Auto),
        &state(vec![leased]),
        NOW,
    );
    assert_eq!(names(&decision), ["none"]);
}

#[test]
fn the_line_is_five_percent_or_64_mib() {
    // 5 % of 2,000 MiB is 100 MiB; 64 MiB is the floor for small units.
    for (current, needed) in [(2000 * MIB, 100 * MIB), (100 * MIB, 64 * MIB)] {
        for (left, action) in [(needed, "protect"), (needed - 1, "none")] {
            let mut snapshot = with(kswapd());
            snapshot.chain[0].current = current;
            snapshot.chain[0].max = Limit::Bytes(current + left);
            assert_eq!(names(&auto(&snapshot)), [action], "{current} used, {left} left");
            // The same line on an ancestor, and on memory.high there.
            snapshot.chain[0].max = Limit::Max;
            snapshot.chain[1].high = Limit::Bytes(snapshot.chain[1].current + left);
            assert_eq!(
                names(&auto(&snapshot)),
                [action],
                "{current} used, {left} left in the slice"
            );
        }
    }
}

#[test]
fn just_below_the_line() {
    let mut snapshot = with(kswapd());
    snapshot.chain[0].max = Limit::Bytes(2100 * MIB - 1);
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn limits_below_that_could_not_all_be_read() {
    let snapshot = Snapshot {
        below_complete: false,
        ..with(kswapd())
    };
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn a_host_with_nothing_else_to_take_is_a_limit_as_well() {
    // Critical units hold nearly all of the RAM, without a limit, and swap has room.
    let mut snapshot = with(kswapd());
    snapshot.host.available = 300 * MIB;
    snapshot.elsewhere = 350 * MIB;
    for kind in [
        kswapd(),
        event(ReclaimKind::Direct, Relation::Elsewhere, Some("b.service"), "dd"),
    ] {
        snapshot.event = Some(kind);
        let decision = auto(&snapshot);
        assert_eq!(names(&decision), ["none"]);
        assert!(
            decision.actions[0].reason.contains("RAM of the host"),
            "{}",
            decision.actions[0].reason
        );
        let alarm = decision.alarm.expect("an alarm");
        assert!(
            alarm.reason.contains("nearest limit: RAM of the host"),
            "{}",
            alarm.reason
        );
    }
    // A bystander can give: 1/20 of 8,192 MiB is 409.6.
    snapshot.elsewhere = 410 * MIB;
    assert_eq!(names(&auto(&snapshot)), ["protect"]);
}

#[test]
fn no_swap_accounting() {
    let mut snapshot = with(kswapd());
    snapshot.chain[0].swap = None;
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn limit_or_proactive_is_told_apart_by_whose_task_it_was() {
    let own = auto(&with(event(
        ReclaimKind::Memcg,
        Relation::Unit,
        Some(UNIT),
        "python3",
    )));
    assert_eq!(names(&own), ["none"]);
    let unknown = auto(&with(event(
        ReclaimKind::Memcg,
        Relation::Unknown,
        None,
        "python3",
    )));
    assert_eq!(names(&unknown), ["none"]);
    let shell = auto(&with(event(
        ReclaimKind::Memcg,
        Relation::Elsewhere,
        Some("session-3.scope"),
        "bash",
    )));
    assert_eq!(names(&shell), ["protect"]);
}

#[test]
fn zero_despite_the_limit() {
    let mut snapshot = with(limit_of(Relation::Unit, UNIT));
    snapshot.chain[0].max = Limit::Bytes(2000 * MIB);
    assert_json_snapshot!(decide(
        &snapshot,
        &reaction(OnCriticalSwap::Zero),
        &State::default(),
        NOW
    ));
}

#[test]
fn freeze() {
    assert_json_snapshot!(decide(
        &with(kswapd()),
        &reaction(OnCriticalSwap::Freeze),
        &State::default(),
        NOW
    ));
}

#[test]
fn freeze_never_raises() {
    let mut snapshot = with(kswapd());
    snapshot.chain[0].swap = Some(SwapLevel {
        max: Limit::Bytes(10 * MIB),
        current: 12 * MIB,
    });
    assert_json_snapshot!(decide(
        &snapshot,
        &reaction(OnCriticalSwap::Freeze),
        &State::default(),
        NOW
    ));
}

#[test]
fn alarm_only() {
    assert_json_snapshot!(decide(
        &with(kswapd()),
        &reaction(OnCriticalSwap::AlarmOnly),
        &State::default(),
        NOW
    ));
}

#[test]
fn the_operator_has_set_zero_already() {
    let mut snapshot = with(kswapd());
    snapshot.chain[0].swap = Some(SwapLevel {
        max: Limit::Bytes(0),
        current: 12 * MIB,
    });
    assert_json_snapshot!(auto(&snapshot));
    snapshot.chain[0].swap = Some(SwapLevel {
        max: Limit::Max,
        current: 12 * MIB,
    });
    snapshot.chain[1].swap = Some(SwapLevel {
        max: Limit::Bytes(0),
        current: 12 * MIB,
    });
    assert_eq!(names(&auto(&snapshot)), ["none"]);
}

#[test]
fn leased_already() {
    let mut snapshot = with(kswapd());
    snapshot.chain[0].swap = Some(SwapLevel {
        max: Limit::Bytes(0),
        current: 12 * MIB,
    });
    let leased = lease(
        Property::MemorySwapMax,
        Limit::Max,
        Limit::Bytes(0),
        OnCriticalSwap::Auto,
    );
    assert_json_snapshot!(decide(
        &snapshot,
        &reaction(OnCriticalSwap::Auto),
        &state(vec![leased]),
        NOW
    ));
}

#[test]
fn changed_by_the_operator_after_the_lease() {
    let leased = lease(
        Property::MemorySwapMax,
        Limit::Bytes(MIB),
        Limit::Bytes(0),
        OnCriticalSwap::Auto,
    );
    assert_json_snapshot!(decide(
        &with(kswapd()),
        &reaction(OnCriticalSwap::Auto),
        &state(vec![leased]),
        NOW
    ));
}

#[test]
fn what_the_host_needs_is_never_touched() {
    for unit in [
        "init.scope",
        "memmon.service",
        "dbus.service",
        "dbus-broker.service",
        "systemd-journald.service",
        "systemd-journald@tenant.service",
        "systemd-journald-dev-log.socket",
        "systemd-udevd.service",
        "systemd-logind.service",
        "system.slice",
        "-.slice",
    ] {
        let snapshot = Snapshot {
            unit: unit.into(),
            ..with(kswapd())
        };
        let decision = decide(&snapshot, &reaction(OnCriticalSwap::Zero), &State::default(), NOW);
        assert_eq!(names(&decision), ["none"], "{unit}");
        assert!(
            decision.actions[0].reason.contains("never acted upon"),
            "{}",
            decision.actions[0].reason
        );
    }
    for unit in [
        "dbusser.service",
        "systemd-udevd-helper.service",
        "my-dbus.service",
        "ai.slice",
    ] {
        let snapshot = Snapshot {
            unit: unit.into(),
            ..with(kswapd())
        };
        assert_eq!(names(&auto(&snapshot)), ["protect"], "{unit}");
    }
    let state = State {
        own_unit: Some(UNIT.into()),
        ..State::default()
    };
    assert_eq!(
        names(&decide(
            &with(kswapd()),
            &reaction(OnCriticalSwap::Auto),
            &state,
            NOW
        )),
        ["none"]
    );
}

#[test]
fn only_critical_units_are_acted_upon() {
    for priority in [Priority::Observe, Priority::Low, Priority::Medium, Priority::High] {
        let snapshot = Snapshot {
            priority,
            ..with(kswapd())
        };
        assert_eq!(names(&auto(&snapshot)), ["none"], "{priority:?}");
    }
}

#[test]
fn a_tagged_region_protects_a_unit_from_medium_on() {
    let hit = CriticalEvent {
        region: Some(Region {
            label: "embeddings".into(),
            comm: "python3".into(),
        }),
        ..kswapd()
    };
    let of = |priority| {
        let snapshot = Snapshot {
            priority,
            tagged: true,
            ..with(hit.clone())
        };
        auto(&snapshot)
    };
    for priority in [Priority::Medium, Priority::High, Priority::Critical] {
        assert_eq!(names(&of(priority)), ["protect"], "{priority:?}");
    }
    for priority in [Priority::Observe, Priority::Low] {
        let decision = of(priority);
        assert_eq!(names(&decision), ["none"], "{priority:?}");
        assert!(decision.actions[0].reason.contains("from medium on"));
    }
    let alarm = of(Priority::Medium).alarm.expect("an alarm");
    assert_eq!(
        alarm.reason,
        "32 pages of region \"embeddings\" (python3) of omnimind.service went to swap: kswapd reclaims for the host"
    );
}

#[test]
fn a_unit_that_is_gone() {
    let snapshot = Snapshot {
        chain: Vec::new(),
        ..with(kswapd())
    };
    assert_json_snapshot!(auto(&snapshot));
}

#[test]
fn relations() {
    let of = |other| Relation::of("/a.slice/b.service", other);
    assert_eq!(of(Some("/a.slice/b.service")), Relation::Unit);
    assert_eq!(of(Some("/a.slice")), Relation::Ancestor);
    assert_eq!(of(Some("/a.slice/b.service/x/y")), Relation::Below);
    assert_eq!(of(Some("/a.slice/b.service2")), Relation::Elsewhere);
    assert_eq!(of(Some("/a")), Relation::Elsewhere);
    assert_eq!(of(Some("/")), Relation::Elsewhere);
    assert_eq!(of(None), Relation::Unknown);
}
