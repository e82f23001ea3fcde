use crate::config::Priority;
use std::time::Duration;

use super::super::test_support::*;
use super::super::{PressureSample, decide};
use super::*;
use crate::config::Thresholds;
use crate::decode::MemInfo;
use crate::decode::SwapLevel;
use crate::policy::{LeaseId, situation};

const HOLD: Duration = Duration::from_secs(600);

fn swap_lease() -> LeaseView {
    lease(
        Property::MemorySwapMax,
        Limit::Max,
        Limit::Bytes(0),
        OnCriticalSwap::Auto,
    )
}

fn high_lease() -> LeaseView {
    LeaseView {
        id: LeaseId(8),
        ..lease(
            Property::MemoryHigh,
            Limit::Bytes(2001 * MIB),
            Limit::Bytes(2200 * MIB),
            OnCriticalSwap::Auto,
        )
    }
}

fn auto(snapshot: &Snapshot, state: &State) -> Vec<Planned> {
    decide(snapshot, &reaction(OnCriticalSwap::Auto), state, NOW).actions
}

#[track_caller]
fn assert_reverts(actions: &[Planned], lease: u64) {
    assert_eq!(
        actions[0].action,
        Action::Revert {
            lease: LeaseId(lease)
        },
        "{}",
        actions[0].reason
    );
}

#[track_caller]
fn assert_keeps(actions: &[Planned], lease: u64, until: MonoTime, why: &str) {
    assert_eq!(
        actions[0].action,
        Action::Keep {
            lease: LeaseId(lease),
            until
        }
    );
    assert!(actions[0].reason.contains(why), "{}", actions[0].reason);
}

#[test]
fn quiet_past_the_deadline_ends_the_lease() {
    let actions = auto(&snapshot(), &state(vec![swap_lease()]));
    assert_reverts(&actions, 7);
    assert_eq!(actions[0].reason, "quiet for 10m");
}

#[test]
fn quiet_has_to_last() {
    let later = NOW.after(Duration::from_secs(1));
    let lease = LeaseView {
        deadline: later,
        ..swap_lease()
    };
    assert_keeps(&auto(&snapshot(), &state(vec![lease])), 7, later, "not yet");
}

#[test]
fn a_recent_critical_page_extends() {
    let last = MonoTime(NOW.0 - 599_000_000_000);
    let state = State {
        last_critical: Some(last),
        ..state(vec![swap_lease()])
    };
    assert_keeps(&auto(&snapshot(), &state), 7, NOW.after(HOLD), "599 s ago");
    let state = State {
        last_critical: Some(MonoTime(NOW.0 - 600_000_000_000)),
        ..state
    };
    assert_reverts(&auto(&snapshot(), &state), 7);
}

#[test]
fn a_tense_host_extends() {
    for situation in [Situation::High, Situation::Critical] {
        let snapshot = Snapshot {
            situation,
            ..snapshot()
        };
        assert_keeps(
            &auto(&snapshot, &state(vec![swap_lease()])),
            7,
            NOW.after(HOLD),
            situation.as_str(),
        );
    }
}

#[test]
fn stalls_of_the_unit_extend() {
    // 100 s since the last review: 5 s of stall is the line.
    let at = MonoTime(NOW.0 - 100_000_000_000);
    let sample = PressureSample {
        at,
        some_us: 1_000_000,
        cgroup_id: 1765,
    };
    let state = State {
        pressure: Some(sample),
        ..state(vec![swap_lease()])
    };
    let stalled = |us: u64| Snapshot {
        pressure: Some(pressure(1_000_000 + us)),
        ..snapshot()
    };
    assert_keeps(&auto(&stalled(5_000_000), &state), 7, NOW.after(HOLD), "5.0 %");
    assert_reverts(&auto(&stalled(4_900_000), &state), 7);
    // A sample of the cgroup before a restart says nothing about this one.
    let state = State {
        pressure: Some(PressureSample {
            cgroup_id: 3,
            ..sample
        }),
        ..state
    };
    assert_reverts(&auto(&stalled(5_000_000), &state), 7);
}

#[test]
fn the_first_review_uses_the_kernels_average() {
    let mut snapshot = snapshot();
    let mut stalled = pressure(0);
    stalled.some.avg60 = 7.5;
    snapshot.pressure = Some(stalled);
    assert_keeps(
        &auto(&snapshot, &state(vec![swap_lease()])),
        7,
        NOW.after(HOLD),
        "7.5 %",
    );
    snapshot.pressure = None;
    assert_reverts(&auto(&snapshot, &state(vec![swap_lease()])), 7);
}

#[test]
fn auto_gives_swap_back_when_the_unit_grows_towards_its_limit() {
    // Under every kind of unrest: this lease would otherwise become the cause of an OOM kill.
    let mut snapshot = Snapshot {
        situation: Situation::Critical,
        ..snapshot()
    };
    let last = State {
        last_critical: Some(NOW),
        ..state(vec![swap_lease()])
    };
    snapshot.chain[0].max = Limit::Bytes(2050 * MIB - 1);
    let actions = auto(&snapshot, &last);
    assert_reverts(&actions, 7);
    assert!(
        actions[0]
            .reason
            .contains("memory.max 2049.9 MiB of /ai.slice/omnimind.service, 49.9 MiB left")
    );
    snapshot.chain[0].max = Limit::Bytes(2050 * MIB);
    assert_keeps(&auto(&snapshot, &last), 7, NOW.after(HOLD), "0 s ago");
    // Zero and freeze are the operator's word.
    snapshot.chain[0].max = Limit::Bytes(2000 * MIB);
    let zero = LeaseView {
        mode: OnCriticalSwap::Zero,
        ..swap_lease()
    };
    assert_keeps(
        &auto(
            &snapshot,
            &State {
                leases: vec![zero],
                ..last
            },
        ),
        7,
        NOW.after(HOLD),
        "0 s ago",
    );
}

#[test]
fn auto_gives_swap_back_when_the_host_has_nothing_else() {
    let mut snapshot = snapshot();
    snapshot.situation = Situation::Critical;
    let held = state(vec![swap_lease()]);
    // Half of 1/20 of 8,192 MiB.
    snapshot.elsewhere = 205 * MIB;
    assert_keeps(&auto(&snapshot, &held), 7, NOW.after(HOLD), "situation");
    snapshot.elsewhere = 204 * MIB;
    let actions = auto(&snapshot, &held);
    assert_reverts(&actions, 7);
    assert!(actions[0].reason.contains("OOM"), "{}", actions[0].reason);
    // With swap full nothing is gained.
    snapshot.host.swap_free = 0;
    assert_keeps(&auto(&snapshot, &held), 7, NOW.after(HOLD), "situation");
}

#[test]
fn a_unit_that_was_started_again_gets_swap_back_where_a_limit_bounds_it() {
    let again = State {
        started_again: true,
        ..state(vec![swap_lease()])
    };
    let mut snapshot = snapshot();
    snapshot.situation = Situation::Critical;
    assert_keeps(&auto(&snapshot, &again), 7, NOW.after(HOLD), "situation");
    snapshot.chain[0].current = MIB;
    snapshot.chain[1].max = Limit::Bytes(4000 * MIB);
    let actions = auto(&snapshot, &again);
    assert_reverts(&actions, 7);
    assert!(
        actions[0].reason.contains("started again"),
        "{}",
        actions[0].reason
    );
    // By then it has shown what it uses.
    assert_keeps(
        &auto(&snapshot, &state(vec![swap_lease()])),
        7,
        NOW.after(HOLD),
        "situation",
    );
    // The operator's word counts more.
    let zero = State {
        leases: vec![LeaseView {
            mode: OnCriticalSwap::Zero,
            ..swap_lease()
        }],
        ..again
    };
    assert_keeps(&auto(&snapshot, &zero), 7, NOW.after(HOLD), "situation");
}

#[test]
fn memory_high_returns_only_below_the_old_value() {
    let leases = state(vec![high_lease()]);
    assert_reverts(&auto(&snapshot(), &leases), 8);
    let mut grown = snapshot();
    grown.chain[0].current = 2001 * MIB;
    assert_keeps(&auto(&grown, &leases), 8, NOW, "is not below the old MemoryHigh");
}

#[test]
fn memory_high_waits_for_memory_swap_max() {
    let later = NOW.after(Duration::from_secs(1));
    let swap = LeaseView {
        deadline: later,
        ..swap_lease()
    };
    let actions = auto(&snapshot(), &state(vec![high_lease(), swap]));
    assert_keeps(&actions, 7, later, "not yet");
    assert_keeps(&actions[1..], 8, NOW, "MemorySwapMax has to be back first");
    let actions = auto(&snapshot(), &state(vec![high_lease(), swap_lease()]));
    assert_reverts(&actions, 7);
    assert_reverts(&actions[1..], 8);
}

#[test]
fn freeze_ratchets_down_only() {
    let frozen = LeaseView {
        deadline: NOW.after(HOLD),
        ..lease(
            Property::MemorySwapMax,
            Limit::Max,
            Limit::Bytes(20 * MIB),
            OnCriticalSwap::Freeze,
        )
    };
    let leases = state(vec![frozen]);
    let mut snapshot = snapshot();
    let mut in_swap = |current, max| {
        snapshot.chain[0].swap = Some(SwapLevel { max, current });
        auto(&snapshot, &leases)
    };
    let down = in_swap(12 * MIB, Limit::Bytes(20 * MIB));
    let change = down[0].action.change().copied();
    assert_eq!(
        change.map(|change| (change.old, change.new)),
        Some((Limit::Bytes(20 * MIB), Limit::Bytes(12 * MIB)))
    );
    assert_eq!(down.len(), 2);
    assert_eq!(in_swap(20 * MIB, Limit::Bytes(20 * MIB)).len(), 1);
    assert_eq!(in_swap(21 * MIB, Limit::Bytes(20 * MIB)).len(), 1);
    // The operator has changed the limit meanwhile: hands off.
    assert_eq!(in_swap(12 * MIB, Limit::Bytes(30 * MIB)).len(), 1);
}

#[test]
fn no_lease_is_said() {
    let actions = auto(&snapshot(), &State::default());
    assert_eq!(actions.len(), 1);
    assert_eq!(actions[0].action, Action::None);
}

#[test]
fn a_threshold_holds_until_use_has_fallen_by_the_hysteresis() {
    let thresholds = Thresholds {
        ram_critical: 0.9,
        ram_high: 0.8,
        swap_high: 0.5,
        compressed_high: 0.8,
        hysteresis: 0.05,
        dwell: Duration::from_secs(30),
    };
    let used = |percent: u64| MemInfo {
        total: 1000,
        available: 1000 - percent * 10,
        ..MemInfo::default()
    };
    let mut now = Situation::Normal;
    let expected = [
        (79, Situation::Normal),
        (80, Situation::High),
        (76, Situation::High),
        (90, Situation::Critical),
        (86, Situation::Critical),
        (84, Situation::High),
        (76, Situation::High),
        (74, Situation::Normal),
        (79, Situation::Normal),
        (95, Situation::Critical),
        (10, Situation::Normal),
    ];
    for (percent, want) in expected {
        now = situation(&used(percent), &thresholds, now);
        assert_eq!(now, want, "at {percent} %");
    }
    assert_eq!(
        situation(&MemInfo::default(), &thresholds, Situation::High),
        Situation::High
    );
}

#[test]
fn a_unit_that_is_no_longer_critical_gets_its_limits_back() {
    let snapshot = Snapshot {
        priority: Priority::High,
        situation: Situation::Critical,
        ..snapshot()
    };
    let later = LeaseView {
        deadline: NOW.after(HOLD),
        ..swap_lease()
    };
    let actions = auto(&snapshot, &state(vec![later]));
    assert_reverts(&actions, 7);
    assert!(actions[0].reason.contains("no longer declared critical"));
}

#[test]
fn a_limit_for_a_tagged_region_stays_while_something_is_tagged() {
    let later = LeaseView {
        deadline: NOW.after(HOLD),
        ..swap_lease()
    };
    let with = |tagged| Snapshot {
        priority: Priority::Medium,
        tagged,
        ..snapshot()
    };
    let state = state(vec![later]);
    let kept = auto(&with(true), &state);
    assert!(matches!(kept[0].action, Action::Keep { .. }), "{kept:?}");
    assert_reverts(&auto(&with(false), &state), 7);
}

#[test]
fn a_stopped_unit_keeps_its_lease_until_the_deadline() {
    // It may be restarting, and takes a property of ours along.
    let gone = Snapshot {
        chain: Vec::new(),
        ..snapshot()
    };
    let later = NOW.after(Duration::from_secs(1));
    let lease = LeaseView {
        deadline: later,
        ..swap_lease()
    };
    assert_keeps(&auto(&gone, &state(vec![lease])), 7, later, "is gone");
    assert_reverts(&auto(&gone, &state(vec![swap_lease()])), 7);
}
