#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use super::super::fake_systemd::FakeUnit;
use super::super::rig::Rig;
use super::super::test_support::*;
use super::*;

#[tokio::test]
async fn a_killed_agents_drop_in_is_removed_by_the_next() {
    let rig = Rig::protected().await;
    let (mut rig, _) = rig.restarted();
    assert_eq!(rig.world.swap_max(), "max");
    rig.settle().await;
    assert_eq!(rig.property(), u64::MAX);
    rig.assert_untouched("max");
}

#[tokio::test]
async fn an_operators_own_runtime_drop_in_comes_back() {
    let mut rig = Rig::new().await;
    rig.state().set(UNIT, &[("MemorySwapMax".into(), 1 << 30)]);
    let theirs = rig.drop_in().unwrap();
    rig.protect().await;
    assert_ne!(rig.drop_in().unwrap(), theirs);
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    assert_eq!(rig.drop_in().unwrap(), theirs);
    assert_eq!(
        (rig.property(), rig.world.swap_max()),
        (1 << 30, (1_u64 << 30).to_string())
    );
    assert!(rig.world.on_record().is_empty());
}

#[tokio::test]
async fn an_operators_set_property_after_us_is_kept() {
    let mut rig = Rig::protected().await;
    rig.state().set(UNIT, &[("MemorySwapMax".into(), 1 << 30)]);
    rig.executor.revert_all("SIGTERM");
    let outcomes = rig.settle().await;
    assert!(
        matches!(&outcomes[0].result, StepResult::Skipped(why) if why.contains("1073741824")),
        "{outcomes:?}"
    );
    assert_eq!(
        (rig.property(), rig.world.swap_max()),
        (1 << 30, (1_u64 << 30).to_string())
    );
    assert!(rig.drop_in().unwrap().contains("MemorySwapMax=1073741824"));
    assert!(rig.world.on_record().is_empty());
}

#[tokio::test]
async fn an_operators_write_to_the_cgroup_file_survives_the_reload() {
    for late in [false, true] {
        let mut rig = Rig::protected().await;
        rig.state().late = late;
        rig.world.write(CGROUP, "memory.swap.max", "1048576");
        rig.executor.revert_all("SIGTERM");
        let outcomes = rig.settle().await;
        assert!(
            matches!(&outcomes[0].result, StepResult::Skipped(why) if why.contains("1048576")),
            "{outcomes:?}"
        );
        assert_eq!(rig.property(), u64::MAX);
        rig.state().look();
        rig.assert_untouched("1048576");
    }
}

#[tokio::test]
async fn a_lease_in_the_cgroup_file_alone_survives_what_systemd_writes_later() {
    let mut rig = Rig::new().await;
    rig.world.write(CGROUP, "memory.max", "1073741824");
    rig.protect().await;
    rig.state().late = true;
    rig.daemon_reload().await;
    rig.state().look();
    assert_eq!(rig.world.swap_max(), "0");
}

#[tokio::test]
async fn an_edited_unit_file_is_what_comes_back() {
    for late in [false, true] {
        let mut rig = Rig::protected().await;
        rig.state().late = late;
        // Ours masks it until it is gone.
        rig.state()
            .units
            .get_mut(UNIT)
            .unwrap()
            .fragment
            .insert("MemorySwapMax".into(), 2 << 30);
        assert!(rig.daemon_reload().await.is_empty());
        assert_eq!(rig.property(), 0);
        rig.executor.revert_all("SIGTERM");
        rig.settle().await;
        assert_eq!(rig.property(), 2 << 30);
        rig.assert_untouched(&(2_u64 << 30).to_string());
    }
}

#[tokio::test]
async fn a_limit_that_is_configured_as_ours_since_stays() {
    for late in [false, true] {
        let mut rig = Rig::protected().await;
        rig.state().late = late;
        let (base, file) = ("etc/systemd/system", "60-theirs.conf");
        rig.state().drop_in(base, UNIT, file, "MemorySwapMax", 0);
        assert!(rig.daemon_reload().await.is_empty());
        rig.executor.revert_all("SIGTERM");
        let outcomes = rig.settle().await;
        assert!(
            matches!(&outcomes.last().unwrap().result, StepResult::Skipped(why) if why.contains("configured as 0 now")),
            "{outcomes:?}"
        );
        assert_eq!(rig.property(), 0);
        rig.assert_untouched("0");
    }
}

#[tokio::test]
async fn an_override_that_wins_at_a_reload_is_applied_over_again() {
    let mut rig = Rig::new().await;
    rig.state().drop_in(
        "etc/systemd/system",
        UNIT,
        "override.conf",
        "MemorySwapMax",
        1 << 30,
    );
    rig.state().reload();
    let outcomes = rig.protect().await;
    assert!(outcomes[0].reason.contains("override.conf"), "{outcomes:?}");
    assert_eq!(rig.property(), 0);
    let outcomes = rig.daemon_reload().await;
    assert_eq!(
        (outcomes[0].old, outcomes[0].new),
        (Some(Limit::Bytes(1 << 30)), Some(Limit::Bytes(0))),
        "{outcomes:?}"
    );
    assert_eq!((rig.property(), rig.world.swap_max().as_str()), (0, "0"));
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    assert_eq!(rig.property(), 1 << 30);
    rig.assert_untouched(&(1_u64 << 30).to_string());
}

#[tokio::test]
async fn a_value_configured_since_is_the_operators() {
    for (base, file) in [
        ("etc/systemd/system", "override.conf"),
        ("etc/systemd/system.control", "50-MemorySwapMax.conf"),
    ] {
        let mut rig = Rig::protected().await;
        rig.state().drop_in(base, UNIT, file, "MemorySwapMax", 3 << 30);
        let outcomes = rig.daemon_reload().await;
        assert!(
            outcomes[0].reason.contains("configured as 3221225472 now"),
            "{outcomes:?}"
        );
        assert_eq!(rig.property(), 3 << 30);
        rig.assert_untouched(&(3_u64 << 30).to_string());
    }
}

#[tokio::test]
async fn values_that_systemd_would_overwrite_keep_it_out() {
    let mut rig = Rig::new().await;
    rig.world.write(CGROUP, "memory.max", "1073741824");
    let outcomes = rig.protect().await;
    assert!(
        outcomes[0]
            .reason
            .contains("memory.max is 1073741824 although MemoryMax is max"),
        "{outcomes:?}"
    );
    assert!(matches!(rig.lease_state(), LeaseState::CgroupOnly { .. }));
    assert!(rig.state().calls.is_empty());
    assert_eq!(rig.world.read(CGROUP, "memory.max"), "1073741824");
    rig.executor.revert_all("SIGTERM");
    assert!(rig.executor.is_settled());
    assert!(rig.state().calls.is_empty());
    rig.assert_untouched("max");
}

#[tokio::test]
async fn memory_limit_alone_keeps_systemd_out() {
    let unit = FakeUnit {
        memory_limit: 1 << 30,
        ..FakeUnit::new(CGROUP)
    };
    let mut rig = Rig::with(unit).await;
    let outcomes = rig.protect().await;
    assert!(outcomes[0].reason.contains("MemoryLimit="), "{outcomes:?}");
    assert!(rig.state().calls.is_empty());
}

#[tokio::test]
async fn a_lease_in_the_cgroup_file_alone_survives_a_reload() {
    let mut rig = Rig::new().await;
    rig.world.write(CGROUP, "memory.max", "1073741824");
    rig.protect().await;
    let outcomes = rig.daemon_reload().await;
    // systemd has written its own values, as it does for every unit.
    assert_eq!(
        outcomes[0].reason,
        "a daemon-reload had put the configured value back"
    );
    assert_eq!(rig.world.swap_max(), "0");
    rig.state()
        .units
        .get_mut(UNIT)
        .unwrap()
        .fragment
        .insert("MemorySwapMax".into(), 2 << 30);
    let outcomes = rig.daemon_reload().await;
    assert!(
        outcomes[0].reason.contains("configured as 2147483648 now"),
        "{outcomes:?}"
    );
    rig.assert_untouched(&(2_u64 << 30).to_string());
}

#[tokio::test]
async fn a_property_lease_follows_the_unit_over_a_restart() {
    let mut rig = Rig::protected().await;
    let inode = rig.world.inode(CGROUP);
    fs::rename(
        rig.world.dir.path().join("cgroup/ai.slice/omnimind.service"),
        rig.world.dir.path().join("old"),
    )
    .unwrap();
    rig.world.cgroup(CGROUP);
    // systemd gives the new cgroup the runtime property.
    rig.state().reload();
    assert_eq!(rig.world.swap_max(), "0");
    assert!(rig.executor.cgroup_removed(inode).is_empty());
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    rig.assert_untouched("max");
}

#[tokio::test]
async fn memory_high_is_never_lowered_below_usage_by_systemd() {
    let mut rig = Rig::new().await;
    rig.state()
        .units
        .get_mut(UNIT)
        .unwrap()
        .fragment
        .insert("MemoryHigh".into(), 110 * MIB);
    rig.state().reload();
    one(&mut rig.executor, &rig.world.raise_high(110 * MIB, 200 * MIB));
    rig.settle().await;
    rig.world
        .write(CGROUP, "memory.current", &(150 * MIB).to_string());
    rig.state().calls.clear();
    rig.executor.revert_all("SIGTERM");
    let outcomes = rig.settle().await;
    assert!(
        outcomes
            .iter()
            .any(|outcome| outcome.reason.contains("until the next daemon-reload")),
        "{outcomes:?}"
    );
    assert!(rig.state().calls.is_empty());
    assert!(
        !rig.world
            .dir
            .path()
            .join("run/systemd/system.control/omnimind.service.d")
            .exists()
    );
    assert!(rig.world.on_record().is_empty());
}

#[tokio::test]
async fn freeze_lowers_the_property_as_well_and_all_of_it_goes() {
    let mut rig = Rig::new().await;
    let freeze = crate::config::OnCriticalSwap::Freeze;
    rig.executor
        .execute(&rig.world.freeze(Limit::Max, 12 * MIB), freeze);
    rig.settle().await;
    assert_eq!(rig.property(), 12 * MIB);
    rig.executor
        .execute(&rig.world.freeze(Limit::Bytes(12 * MIB), 8 * MIB), freeze);
    rig.settle().await;
    assert_eq!(rig.property(), 8 * MIB);
    // Lowered once more, and systemd does not get to it.
    rig.state().refuse.push("SetUnitProperties");
    rig.executor
        .execute(&rig.world.freeze(Limit::Bytes(8 * MIB), 4 * MIB), freeze);
    rig.settle().await;
    assert_eq!(
        (rig.property(), rig.world.swap_max()),
        (8 * MIB, (4 * MIB).to_string())
    );
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    assert_eq!(rig.property(), u64::MAX);
    rig.assert_untouched("max");
}

#[tokio::test]
async fn a_page_during_the_way_back_turns_it_around() {
    let mut rig = Rig::protected().await;
    rig.executor.revert_all("by hand");
    assert!(rig.executor.views(UNIT).is_empty());
    assert_eq!(
        one(&mut rig.executor, &rig.world.protect(Limit::Max)).result,
        StepResult::Done
    );
    rig.settle().await;
    assert_eq!((rig.property(), rig.world.swap_max().as_str()), (0, "0"));
    assert_eq!(rig.lease_state(), LeaseState::Official);
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    rig.assert_untouched("max");
}
