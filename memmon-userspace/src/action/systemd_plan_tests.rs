use super::*;
use crate::config::OnCriticalSwap;
use crate::policy::{LeaseId, MonoTime};

const PAGE: u64 = 4096;
const GIB: Limit = Limit::Bytes(1 << 30);
const ZERO: Limit = Limit::Bytes(0);
const OURS: &str = "[Service]\nMemorySwapMax=0\n";

fn lease() -> Lease {
    Lease {
        id: LeaseId(1),
        unit: "u.service".into(),
        property: Property::MemorySwapMax,
        cgroup: "/u.service".into(),
        inode: 9,
        old: Limit::Max,
        new: ZERO,
        mode: OnCriticalSwap::Auto,
        reason: String::new(),
        created: MonoTime(0),
        deadline: MonoTime(0),
        state: LeaseState::Taken,
        systemd: None,
    }
}

fn before() -> SystemdBefore {
    SystemdBefore {
        value: Limit::Max,
        asked: vec![ZERO],
        drop_in: "/run/systemd/system.control/u.service.d/50-MemorySwapMax.conf".into(),
        drop_in_before: None,
        drop_in_paths: Vec::new(),
        transient: false,
    }
}

fn asked() -> Lease {
    Lease {
        state: LeaseState::Official,
        systemd: Some(before()),
        ..lease()
    }
}

/// systemd with `property`, and our drop-in holding `content`.
fn facts(property: Limit, content: Option<&str>) -> UnitFacts {
    let drop_in = DropIn {
        path: before().drop_in,
        content: content.map(Into::into),
    };
    UnitFacts {
        id: "u.service".into(),
        loaded: true,
        running: true,
        control_group: "/u.service".into(),
        limits: [
            ("MemorySwapMax".to_owned(), property),
            ("MemoryMax".to_owned(), GIB),
        ]
        .into(),
        drop_ins: [(Property::MemorySwapMax, drop_in)].into(),
        ..UnitFacts::default()
    }
}

fn files(swap_max: Limit) -> Files {
    [("memory.swap.max", swap_max), ("memory.max", GIB)].into()
}

fn plan(lease: &Lease, facts: &UnitFacts, files: &Files) -> OfficialPlan {
    official(lease, &[lease], facts, Some(files), PAGE)
}

#[track_caller]
fn assert_cgroup_only(plan: &OfficialPlan, why: &str) {
    assert!(
        matches!(plan, OfficialPlan::CgroupOnly(text) if text.contains(why)),
        "{plan:?}"
    );
}

#[test]
fn our_own_value_in_the_file_is_no_difference() {
    let expected = SystemdBefore {
        asked: Vec::new(),
        ..before()
    };
    assert_eq!(
        plan(&lease(), &facts(Limit::Max, None), &files(ZERO)),
        OfficialPlan::Set(expected)
    );
    // But another's is.
    assert_cgroup_only(
        &plan(&lease(), &facts(Limit::Max, None), &files(GIB)),
        "memory.swap.max is 1073741824",
    );
    // And so is a lease that found a value which systemd does not have.
    let wrote = Lease { old: GIB, ..lease() };
    assert_cgroup_only(
        &plan(&wrote, &facts(Limit::Max, None), &files(ZERO)),
        "memory.swap.max is 1073741824",
    );
}

#[test]
fn what_was_there_before_the_first_try_stays_on_record() {
    let plan = plan(&asked(), &facts(ZERO, Some(OURS)), &files(ZERO));
    assert_eq!(plan, OfficialPlan::Set(before()));
}

#[test]
fn an_operators_drop_in_of_the_same_name_is_remembered() {
    let theirs = "[Service]\nMemorySwapMax=infinity\n";
    let OfficialPlan::Set(before) = plan(&lease(), &facts(Limit::Max, Some(theirs)), &files(ZERO)) else {
        panic!("not set");
    };
    assert_eq!(before.drop_in_before.as_deref(), Some(theirs));
}

#[test]
fn scopes_get_cgroup_writes_only() {
    let scope = UnitFacts {
        id: "session-3.scope".into(),
        ..facts(Limit::Max, None)
    };
    assert_cgroup_only(&plan(&lease(), &scope, &files(ZERO)), "scopes");
}

#[test]
fn another_cgroup_than_systemds_is_left_to_the_file() {
    let moved = UnitFacts {
        control_group: "/other.slice/u.service".into(),
        ..facts(Limit::Max, None)
    };
    assert_cgroup_only(&plan(&lease(), &moved, &files(ZERO)), "/other.slice/u.service");
}

#[test]
fn a_stopped_unit_is_gone() {
    let stopped = UnitFacts {
        running: false,
        ..facts(Limit::Max, None)
    };
    assert_eq!(plan(&lease(), &stopped, &files(ZERO)), OfficialPlan::Gone);
    assert_eq!(
        official(&lease(), &[], &facts(Limit::Max, None), None, PAGE),
        OfficialPlan::Gone
    );
}

#[test]
fn one_limit_in_the_file_only_keeps_the_other_there() {
    let high = Lease {
        id: LeaseId(2),
        property: Property::MemoryHigh,
        state: LeaseState::CgroupOnly {
            why: String::new(),
            configured: None,
        },
        ..lease()
    };
    let plan = official(
        &lease(),
        &[&high, &lease()],
        &facts(Limit::Max, None),
        Some(&files(ZERO)),
        PAGE,
    );
    assert_cgroup_only(&plan, "another limit");
}

#[test]
fn two_changes_of_ours_do_not_stand_in_each_others_way() {
    let high = Lease {
        id: LeaseId(2),
        property: Property::MemoryHigh,
        old: GIB,
        new: Limit::Bytes(2 << 30),
        ..lease()
    };
    let mut facts = facts(Limit::Max, None);
    facts.limits.insert("MemoryHigh".into(), GIB);
    let mut files = files(ZERO);
    files.insert("memory.high", Limit::Bytes(2 << 30));
    // More than the old MemoryHigh: with the raised one systemd has nothing to reclaim.
    files.insert("memory.current", Limit::Bytes(3 << 29));
    assert!(matches!(
        official(&lease(), &[&lease(), &high], &facts, Some(&files), PAGE),
        OfficialPlan::Set(_)
    ));
    assert_cgroup_only(
        &official(&lease(), &[&lease()], &facts, Some(&files), PAGE),
        "memory.high",
    );
}

fn revert_of(facts: &UnitFacts, file: Limit) -> RevertPlan {
    revert(&asked(), &before(), facts, Some(file), PAGE)
}

#[test]
fn our_drop_in_is_removed_and_systemd_reloads() {
    let plan = revert_of(&facts(ZERO, Some(OURS)), Limit::Max);
    assert_eq!(
        plan.drop_in,
        DropInStep::Remove {
            path: before().drop_in,
            seen: OURS.into()
        }
    );
    assert!(plan.reload && plan.keep_in_cgroup.is_none() && plan.operator.is_none());
}

#[test]
fn an_operators_drop_in_is_left() {
    let plan = revert_of(&facts(GIB, Some("[Service]\nMemorySwapMax=1073741824\n")), GIB);
    assert_eq!(
        (plan.drop_in, plan.reload, plan.keep_in_cgroup),
        (DropInStep::Leave, false, None)
    );
    assert!(plan.operator.is_some_and(|text| text.contains("1073741824")));
}

#[test]
fn a_drop_in_that_was_overwritten_is_put_back() {
    let before = SystemdBefore {
        value: GIB,
        drop_in_before: Some("theirs".into()),
        ..before()
    };
    let plan = revert(&asked(), &before, &facts(ZERO, Some(OURS)), Some(ZERO), PAGE);
    let expected = DropInStep::Replace {
        path: before.drop_in,
        seen: OURS.into(),
        content: "theirs".into(),
    };
    assert_eq!((plan.drop_in, plan.reload), (expected, true));
}

#[test]
fn a_drop_in_removed_by_hand_still_needs_the_reload() {
    let plan = revert_of(&facts(ZERO, None), ZERO);
    assert_eq!((plan.drop_in, plan.reload), (DropInStep::Leave, true));
    // Removed and reloaded: nothing is left to do.
    let plan = revert_of(&facts(Limit::Max, None), Limit::Max);
    assert_eq!((plan.drop_in, plan.reload), (DropInStep::Leave, false));
}

#[test]
fn a_value_written_into_the_file_is_kept_over_the_reload() {
    let plan = revert_of(&facts(ZERO, Some(OURS)), GIB);
    assert_eq!(plan.keep_in_cgroup, Some(GIB));
    assert!(plan.operator.is_some_and(|text| text.contains("memory.swap.max")));
    // A value that systemd itself has applied, an override.conf for instance, comes by itself.
    assert_eq!(revert_of(&facts(GIB, Some(OURS)), GIB).keep_in_cgroup, None);
}

#[test]
fn a_reload_that_changes_nothing_for_us() {
    assert_eq!(
        after_reload(&asked(), &facts(ZERO, Some(OURS)), Some(ZERO), PAGE),
        ReloadPlan::InForce
    );
}

#[test]
fn a_reload_that_put_the_configured_value_back() {
    let plan = after_reload(&asked(), &facts(Limit::Max, Some(OURS)), Some(Limit::Max), PAGE);
    assert_eq!(plan, ReloadPlan::Again { old: Limit::Max });
    // The property may be odd, the file holds whole pages.
    let odd = Lease {
        systemd: Some(SystemdBefore {
            value: Limit::Bytes(8193),
            ..before()
        }),
        ..asked()
    };
    let plan = after_reload(
        &odd,
        &facts(Limit::Bytes(8193), Some(OURS)),
        Some(Limit::Bytes(8192)),
        PAGE,
    );
    assert_eq!(
        plan,
        ReloadPlan::Again {
            old: Limit::Bytes(8192)
        }
    );
}

#[test]
fn a_reload_that_brought_the_operators_value() {
    assert_eq!(
        after_reload(&asked(), &facts(GIB, Some(OURS)), Some(GIB), PAGE),
        ReloadPlan::Operators(GIB)
    );
}

#[test]
fn a_value_of_ours_from_before_freeze_lowered_it_is_not_the_operators() {
    let lowered = Lease {
        new: Limit::Bytes(4096),
        old: Limit::Max,
        systemd: Some(SystemdBefore {
            asked: vec![Limit::Bytes(8192), Limit::Bytes(4096)],
            ..before()
        }),
        ..asked()
    };
    let found = Limit::Bytes(8192);
    let plan = after_reload(&lowered, &facts(found, None), Some(found), PAGE);
    assert_eq!(plan, ReloadPlan::Again { old: Limit::Max });
}

#[test]
fn a_lease_in_the_file_alone_after_a_reload() {
    let state = |configured| LeaseState::CgroupOnly {
        why: String::new(),
        configured,
    };
    let written = Lease {
        old: GIB,
        state: state(Some(Limit::Max)),
        ..lease()
    };
    let after = |property, file| after_reload(&written, &facts(property, None), file, PAGE);
    assert_eq!(after(Limit::Max, Some(ZERO)), ReloadPlan::InForce);
    // What somebody had written before us is gone with the reload; the property is what comes back.
    assert_eq!(
        after(Limit::Max, Some(Limit::Max)),
        ReloadPlan::Again { old: Limit::Max }
    );
    assert_eq!(
        after(Limit::Bytes(8192), Some(Limit::Bytes(8192))),
        ReloadPlan::Operators(Limit::Bytes(8192))
    );
    assert_eq!(after(Limit::Max, None), ReloadPlan::Gone);
    // Without knowing what was configured, only the value that was there is taken for unchanged.
    let unknown = Lease {
        state: state(None),
        ..written.clone()
    };
    let after = |file| after_reload(&unknown, &facts(Limit::Max, None), Some(file), PAGE);
    assert_eq!(after(GIB), ReloadPlan::Again { old: GIB });
    assert_eq!(after(Limit::Max), ReloadPlan::Operators(Limit::Max));
}
