#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use super::super::test_support::*;
use super::*;
use crate::decode::Limit;

#[test]
fn the_lease_is_on_record_and_the_limit_in_force() {
    let world = World::new();
    let mut executor = world.executor();
    let outcome = one(&mut executor, &world.protect(Limit::Max));
    assert_eq!(outcome.result, StepResult::Done);
    assert_eq!(
        (outcome.action, outcome.old, outcome.new),
        ("protect", Some(Limit::Max), Some(Limit::Bytes(0)))
    );
    assert!(outcome.changed() && outcome.timings.is_some());
    assert_eq!(world.swap_max(), "0");
    let record = world.on_record();
    assert_eq!(record.len(), 1);
    assert_eq!(
        (record[0].unit.as_str(), record[0].old, record[0].new),
        (UNIT, Limit::Max, Limit::Bytes(0))
    );
    assert_eq!(
        (record[0].inode, Some(record[0].id)),
        (world.inode(CGROUP), outcome.lease)
    );
    assert_eq!(executor.views(UNIT).len(), 1);
    assert!(executor.is_settled());
}

#[test]
fn without_a_record_nothing_is_changed() {
    let world = World::new();
    let mut executor = world.executor();
    // The directory is replaced by a file: neither appending nor a new file can work.
    let run = world.dir.path().join("run/memmon");
    std::fs::remove_dir_all(&run).unwrap();
    std::fs::write(&run, "").unwrap();
    let outcome = one(&mut executor, &world.protect(Limit::Max));
    assert!(
        matches!(&outcome.result, StepResult::Failed(why) if why.contains("without a record")),
        "{outcome:?}"
    );
    assert_eq!(world.swap_max(), "max");
    assert_eq!(executor.leases().count(), 0);
}

#[test]
fn a_decision_that_the_operator_overtook_is_not_carried_out() {
    let world = World::new();
    let mut executor = world.executor();
    let decision = world.protect(Limit::Max);
    world.write(CGROUP, "memory.swap.max", "1048576");
    let outcome = one(&mut executor, &decision);
    assert!(
        matches!(&outcome.result, StepResult::Skipped(why) if why.contains("1048576")),
        "{outcome:?}"
    );
    assert_eq!(world.swap_max(), "1048576");
    assert!(world.on_record().is_empty());
}

#[test]
fn a_unit_that_is_gone_is_a_clean_no_op() {
    let world = World::new();
    let mut executor = world.executor();
    let decision = world.protect(Limit::Max);
    world.remove(CGROUP);
    let outcome = one(&mut executor, &decision);
    assert_eq!(outcome.result, StepResult::Gone);
    assert!(world.on_record().is_empty());
}

#[test]
fn a_second_change_keeps_what_was_there_before_the_first() {
    let world = World::new();
    let mut executor = world.executor();
    let first = executor.execute(&world.freeze(Limit::Max, 12 * MIB), OnCriticalSwap::Freeze);
    let second = executor.execute(
        &world.freeze(Limit::Bytes(12 * MIB), 8 * MIB),
        OnCriticalSwap::Freeze,
    );
    assert_eq!(first[0].lease, second[0].lease);
    assert_eq!(world.swap_max(), (8 * MIB).to_string());
    let record = world.on_record();
    assert_eq!(
        (record.len(), record[0].old, record[0].new),
        (1, Limit::Max, Limit::Bytes(8 * MIB))
    );
    let outcome = one(&mut executor, &world.end(record[0].id));
    assert_eq!(
        (outcome.result, outcome.new),
        (StepResult::Done, Some(Limit::Max))
    );
    assert_eq!(world.swap_max(), "max");
}

#[test]
fn a_restarted_unit_gets_a_lease_of_its_own() {
    let world = World::new();
    let mut executor = world.executor();
    one(&mut executor, &world.protect(Limit::Max));
    std::fs::rename(
        world.dir.path().join("cgroup/ai.slice/omnimind.service"),
        world.dir.path().join("old"),
    )
    .unwrap();
    world.cgroup(CGROUP);
    let outcome = one(&mut executor, &world.protect(Limit::Max));
    assert_eq!(
        (outcome.result, outcome.lease),
        (StepResult::Done, Some(LeaseId(2)))
    );
    let record = world.on_record();
    assert_eq!((record.len(), record[0].inode), (1, world.inode(CGROUP)));
}

#[test]
fn a_dry_run_takes_the_same_path_and_changes_nothing() {
    let world = World::new();
    let (mut executor, _, _) = world.open(Options {
        dry_run: true,
        ..world.options()
    });
    let outcome = one(&mut executor, &world.protect(Limit::Max));
    assert_eq!(
        (outcome.result.clone(), outcome.new),
        (StepResult::DryRun, Some(Limit::Bytes(0)))
    );
    assert!(!outcome.changed());
    assert_eq!(world.swap_max(), "max");
    assert!(!world.dir.path().join("run/memmon").exists());
    // It sees the same obstacles as a real run.
    let gone = world.protect(Limit::Max);
    let lease = outcome.lease.unwrap();
    assert_eq!(executor.views(UNIT)[0].id, lease);
    assert_eq!(one(&mut executor, &world.end(lease)).result, StepResult::DryRun);
    assert!(executor.views(UNIT).is_empty());
    world.remove(CGROUP);
    assert_eq!(one(&mut executor, &gone).result, StepResult::Gone);
}

#[test]
fn a_dry_run_shows_policy_the_limits_that_would_be_in_force() {
    use super::super::measure::measure;
    use crate::config::Priority;
    use crate::decode::MemInfo;
    use crate::policy::Situation;
    let world = World::new();
    let (mut executor, _, _) = world.open(Options {
        dry_run: true,
        ..world.options()
    });
    one(&mut executor, &world.protect(Limit::Max));
    let root = CgroupRoot::open(&world.options().cgroup_root).unwrap();
    let measured = measure(&root, CGROUP).unwrap();
    assert!(measured.below_complete && measured.below.is_empty());
    let mut snapshot = Snapshot {
        unit: UNIT.into(),
        priority: Priority::Critical,
        cgroup: CGROUP.into(),
        cgroup_id: world.inode(CGROUP),
        chain: measured.chain,
        below: measured.below,
        elsewhere: 0,
        below_complete: true,
        tagged: false,
        host: MemInfo::default(),
        situation: Situation::Normal,
        pressure: None,
        event: None,
    };
    executor.imagine(&mut snapshot);
    assert_eq!(snapshot.chain[0].swap.map(|swap| swap.max), Some(Limit::Bytes(0)));
    assert_eq!(snapshot.chain[1].swap.map(|swap| swap.max), Some(Limit::Max));
}

#[test]
fn a_kept_lease_has_a_later_deadline() {
    let world = World::new();
    let mut executor = world.executor();
    let lease = one(&mut executor, &world.protect(Limit::Max)).lease.unwrap();
    let until = world.now().after(Duration::from_secs(9999));
    let outcomes = executor.execute(
        &world.decision(vec![Action::Keep { lease, until }]),
        OnCriticalSwap::Auto,
    );
    assert!(outcomes.is_empty());
    assert_eq!(executor.views(UNIT)[0].deadline, until);
}

#[test]
fn doing_nothing_is_told_with_its_reason() {
    let world = World::new();
    let mut executor = world.executor();
    let outcome = one(&mut executor, &world.decision(vec![Action::None]));
    assert_eq!(outcome.action, "none");
    assert_eq!(outcome.result, StepResult::Skipped("test".into()));
}

#[test]
fn no_cgroup_tree_is_an_error_with_a_remedy() {
    let world = World::new();
    let options = Options {
        cgroup_root: world.dir.path().join("nothing"),
        ..world.options()
    };
    let error = Executor::open(options).unwrap_err().to_string();
    assert!(
        error.contains("nothing") && error.contains("is cgroup v2 mounted"),
        "{error}"
    );
}
