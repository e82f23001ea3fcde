#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use super::super::execute::Options;
use super::super::fake_systemd::{self, Fake, FakeUnit};
use super::super::rig::{DROP_IN, Rig};
use super::super::test_support::*;
use super::super::{LeaseState, StepResult};
use super::*;
use crate::config::WritePath;

#[tokio::test]
async fn systemd_agrees_and_gives_it_back() {
    let mut rig = Rig::new().await;
    let outcomes = rig.protect().await;
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    assert_eq!(
        (&outcomes[0].result, outcomes[0].action),
        (&StepResult::Confirmed, "protect")
    );
    assert_eq!((rig.property(), rig.world.swap_max().as_str()), (0, "0"));
    assert!(rig.drop_in().unwrap().contains("MemorySwapMax=0"));
    assert_eq!(rig.lease_state(), LeaseState::Official);
    let record = rig.world.on_record();
    assert_eq!(record[0].systemd.as_ref().unwrap().value, Limit::Max);

    assert_eq!(rig.executor.revert_all("SIGTERM").len(), 1);
    // The file is back at once, whatever systemd does.
    assert_eq!(rig.world.swap_max(), "max");
    let outcomes = rig.settle().await;
    assert_eq!(
        (&outcomes[0].result, outcomes[0].new),
        (&StepResult::Confirmed, Some(Limit::Max))
    );
    assert_eq!(rig.property(), u64::MAX);
    rig.assert_untouched("max");
}

#[tokio::test]
async fn what_systemd_had_is_on_record_before_it_is_asked() {
    let mut rig = Rig::new().await;
    one(&mut rig.executor, &rig.world.protect(Limit::Max));
    rig.step().await;
    // Inspected, not yet asked.
    assert!(rig.state().calls.is_empty());
    let before = rig.world.on_record()[0].systemd.clone().unwrap();
    assert_eq!((before.value, before.drop_in_before), (Limit::Max, None));
    assert_eq!(format!("/{DROP_IN}"), before.drop_in);
}

#[tokio::test]
async fn a_transient_units_drop_in_lives_elsewhere() {
    let unit = FakeUnit {
        transient: true,
        ..FakeUnit::new(CGROUP)
    };
    let mut rig = Rig::with(unit).await;
    rig.protect().await;
    let file = rig
        .world
        .dir
        .path()
        .join("run/systemd/transient/omnimind.service.d/50-MemorySwapMax.conf");
    assert!(file.exists() && rig.drop_in().is_none());
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    assert!(!file.exists());
    rig.assert_untouched("max");
}

#[tokio::test]
async fn an_unreachable_systemd_is_tried_again_with_pauses() {
    let world = World::new();
    let options = Options {
        systemd: true,
        ..world.options()
    };
    let mut rig = Rig::on(world, None, None, options);
    let outcome = one(&mut rig.executor, &rig.world.protect(Limit::Max));
    assert_eq!(
        (outcome.result, rig.world.swap_max().as_str()),
        (StepResult::Done, "0")
    );
    let outcomes = rig.step().await;
    assert!(
        matches!(&outcomes[0].result, StepResult::Failed(why) if why.contains("cannot be reached")),
        "{outcomes:?}"
    );
    // Not before the pause is over, and told once.
    let wakeup = rig.executor.next_wakeup().unwrap();
    assert_eq!(wakeup, rig.world.now().after(Duration::from_secs(1)));
    rig.executor.pump(&rig.jobs);
    assert!(rig.reports.try_recv().is_err());
    rig.world.advance(Duration::from_secs(1));
    assert!(rig.step().await.is_empty());
    assert_eq!(
        rig.executor.next_wakeup().unwrap(),
        rig.world.now().after(Duration::from_secs(2))
    );
    assert_eq!(rig.world.on_record().len(), 1);
    // The bus comes up.
    let bus = fake_systemd::Bus::start(rig.world.dir.path());
    rig.fake = Some(
        Fake::start(
            &bus.address,
            rig.world.dir.path(),
            &[(UNIT, FakeUnit::new(CGROUP))],
        )
        .await,
    );
    rig.bus = Some(bus);
    rig.world.write(CGROUP, "memory.swap.max", "0");
    rig.world.advance(Duration::from_secs(2));
    rig.settle().await;
    assert_eq!((rig.property(), rig.lease_state()), (0, LeaseState::Official));
}

#[tokio::test]
async fn a_bus_that_goes_away_is_connected_to_again() {
    let mut rig = Rig::protected().await;
    let units = [(UNIT, rig.state().units[UNIT].clone())];
    (rig.fake, rig.bus) = (None, None);
    rig.executor.revert_all("SIGTERM");
    assert_eq!(rig.world.swap_max(), "max");
    let outcomes = rig.step().await;
    assert!(
        matches!(&outcomes[0].result, StepResult::Failed(_)),
        "{outcomes:?}"
    );
    // The next start would still find it.
    assert_eq!(rig.world.on_record().len(), 1);
    fs::remove_file(rig.world.dir.path().join("bus.socket")).ok();
    let bus = fake_systemd::Bus::start(rig.world.dir.path());
    rig.fake = Some(Fake::start(&bus.address, rig.world.dir.path(), &units).await);
    rig.bus = Some(bus);
    rig.world.advance(Duration::from_secs(1));
    rig.settle().await;
    rig.assert_untouched("max");
}

#[tokio::test]
async fn what_systemd_refuses_stays_in_the_cgroup_file() {
    let mut rig = Rig::new().await;
    rig.state().refuse.push("SetUnitProperties");
    let outcomes = rig.protect().await;
    assert!(outcomes[0].reason.contains("told to refuse"), "{outcomes:?}");
    assert!(matches!(rig.lease_state(), LeaseState::CgroupOnly { .. }));
    assert_eq!(rig.world.swap_max(), "0");
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    rig.assert_untouched("max");
}

#[tokio::test]
async fn a_refused_reload_is_tried_again() {
    let mut rig = Rig::protected().await;
    rig.state().refuse.push("Reload");
    rig.executor.revert_all("SIGTERM");
    rig.step().await;
    let outcomes = rig.step().await;
    assert!(
        matches!(&outcomes[0].result, StepResult::Failed(why) if why.contains("told to refuse")),
        "{outcomes:?}"
    );
    assert_eq!(rig.world.on_record().len(), 1);
    rig.state().refuse.clear();
    rig.world.advance(Duration::from_secs(1));
    rig.settle().await;
    assert_eq!(rig.property(), u64::MAX);
    rig.assert_untouched("max");
}

#[tokio::test]
async fn a_unit_that_stopped_before_systemd_was_asked() {
    let mut rig = Rig::new().await;
    one(&mut rig.executor, &rig.world.protect(Limit::Max));
    rig.state().units.get_mut(UNIT).unwrap().active = false;
    rig.world.remove(CGROUP);
    let outcomes = rig.settle().await;
    assert_eq!(outcomes[0].result, StepResult::Gone);
    assert!(rig.state().calls.is_empty() && rig.world.on_record().is_empty());
}

#[tokio::test]
async fn a_stopped_units_drop_in_is_removed_too() {
    let mut rig = Rig::protected().await;
    {
        let mut state = rig.state();
        let unit = state.units.get_mut(UNIT).unwrap();
        (unit.active, unit.control_group) = (false, String::new());
    }
    rig.world.remove(CGROUP);
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    assert_eq!((rig.drop_in(), rig.property()), (None, u64::MAX));
    assert!(rig.world.on_record().is_empty());
}

#[tokio::test]
async fn several_leases_share_one_reload() {
    let mut rig = Rig::new().await;
    rig.state()
        .units
        .get_mut(UNIT)
        .unwrap()
        .fragment
        .insert("MemoryHigh".into(), 110 * MIB);
    rig.state().reload();
    one(&mut rig.executor, &rig.world.raise_high(110 * MIB, 200 * MIB));
    rig.protect().await;
    // Set together, as systemd applies all of a unit's limits each time.
    assert_eq!(rig.world.read(CGROUP, "memory.high"), (200 * MIB).to_string());
    assert_eq!(rig.world.swap_max(), "0");
    rig.state().calls.clear();
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    assert_eq!(rig.state().calls, ["reload"]);
    assert_eq!(rig.world.read(CGROUP, "memory.high"), (110 * MIB).to_string());
    rig.assert_untouched("max");
}

#[tokio::test]
async fn systemd_only_leaves_the_file_to_systemd() {
    let world = World::new();
    let bus = fake_systemd::Bus::start(world.dir.path());
    let fake = Fake::start(&bus.address, world.dir.path(), &[(UNIT, FakeUnit::new(CGROUP))]).await;
    let options = Options {
        systemd: true,
        write_path: WritePath::SystemdOnly,
        ..world.options()
    };
    let mut rig = Rig::on(world, Some(bus), Some(fake), options);
    let outcome = one(&mut rig.executor, &rig.world.protect(Limit::Max));
    assert!(matches!(outcome.result, StepResult::Skipped(_)));
    assert_eq!(
        (rig.world.swap_max().as_str(), rig.world.on_record().len()),
        ("max", 1)
    );
    let outcomes = rig.settle().await;
    assert!(outcomes[0].changed(), "{outcomes:?}");
    assert_eq!(rig.world.swap_max(), "0");
    rig.executor.revert_all("SIGTERM");
    rig.settle().await;
    rig.assert_untouched("max");
}

#[tokio::test]
async fn systemd_only_and_unsafe_means_not_at_all() {
    let world = World::new();
    world.write(CGROUP, "memory.max", "1073741824");
    let bus = fake_systemd::Bus::start(world.dir.path());
    let fake = Fake::start(&bus.address, world.dir.path(), &[(UNIT, FakeUnit::new(CGROUP))]).await;
    world.write(CGROUP, "memory.max", "1073741824");
    let options = Options {
        systemd: true,
        write_path: WritePath::SystemdOnly,
        ..world.options()
    };
    let mut rig = Rig::on(world, Some(bus), Some(fake), options);
    one(&mut rig.executor, &rig.world.protect(Limit::Max));
    let outcomes = rig.settle().await;
    assert!(
        matches!(&outcomes[0].result, StepResult::Failed(why) if why.contains("memory.max")),
        "{outcomes:?}"
    );
    rig.assert_untouched("max");
}

#[tokio::test]
async fn a_unit_that_systemd_does_not_know() {
    let mut rig = Rig::new().await;
    rig.state().units.remove(UNIT);
    let outcomes = rig.protect().await;
    assert!(
        outcomes[0].reason.contains("the fake has no unit"),
        "{outcomes:?}"
    );
    assert!(matches!(rig.lease_state(), LeaseState::CgroupOnly { .. }));
}
