#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::test_support::*;
use super::*;

fn taken(world: &World) -> (Executor, LeaseId) {
    let mut executor = world.executor();
    let lease = one(&mut executor, &world.protect(Limit::Max)).lease.unwrap();
    (executor, lease)
}

#[test]
fn a_lease_ends_and_is_struck_off() {
    let world = World::new();
    let (mut executor, lease) = taken(&world);
    let outcome = one(&mut executor, &world.end(lease));
    assert_eq!(outcome.result, StepResult::Done);
    assert_eq!(
        (outcome.action, outcome.old, outcome.new),
        ("revert", Some(Limit::Bytes(0)), Some(Limit::Max))
    );
    assert!(outcome.changed());
    assert_eq!(world.swap_max(), "max");
    assert!(world.on_record().is_empty() && executor.leases().next().is_none());
    // Ending it twice is nothing.
    assert!(
        executor
            .execute(&world.end(lease), crate::config::OnCriticalSwap::Auto)
            .is_empty()
    );
}

#[test]
fn an_operators_later_change_is_kept() {
    let world = World::new();
    let (mut executor, lease) = taken(&world);
    world.write(CGROUP, "memory.swap.max", "1048576");
    let outcome = one(&mut executor, &world.end(lease));
    assert!(
        matches!(&outcome.result, StepResult::Skipped(why) if why.contains("1048576")),
        "{outcome:?}"
    );
    assert_eq!(world.swap_max(), "1048576");
    assert!(world.on_record().is_empty());
}

#[test]
fn what_a_killed_agent_left_is_put_back_by_the_next() {
    let world = World::new();
    let (executor, _) = taken(&world);
    // kill -9: nothing runs, the file stays.
    drop(executor);
    assert_eq!(world.swap_max(), "0");
    let (executor, recovered, outcomes) = world.open(world.options());
    assert_eq!(recovered.leases.len(), 1);
    assert_eq!(outcomes.len(), 1);
    assert_eq!(
        (&outcomes[0].result, outcomes[0].new),
        (&StepResult::Done, Some(Limit::Max))
    );
    assert_eq!(world.swap_max(), "max");
    assert!(world.on_record().is_empty() && executor.is_settled());
}

#[test]
fn a_crash_between_record_and_change_leaves_nothing_to_do() {
    let world = World::new();
    let (executor, _) = taken(&world);
    drop(executor);
    world.write(CGROUP, "memory.swap.max", "max");
    let (_, _, outcomes) = world.open(world.options());
    assert!(
        matches!(outcomes[0].result, StepResult::Skipped(_)),
        "{outcomes:?}"
    );
    assert!(world.on_record().is_empty());
}

#[test]
fn a_dry_run_leaves_an_earlier_agents_leases_alone() {
    let world = World::new();
    let (executor, _) = taken(&world);
    drop(executor);
    let (_, _, outcomes) = world.open(super::super::Options {
        dry_run: true,
        ..world.options()
    });
    assert!(outcomes.is_empty());
    assert_eq!((world.swap_max().as_str(), world.on_record().len()), ("0", 1));
}

#[test]
fn a_removed_cgroup_takes_its_lease_along() {
    let world = World::new();
    let (mut executor, _) = taken(&world);
    let inode = world.inode(CGROUP);
    world.remove(CGROUP);
    assert!(executor.cgroup_removed(inode + 1).is_empty());
    let outcomes = executor.cgroup_removed(inode);
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].result, StepResult::Gone);
    assert!(world.on_record().is_empty());
}

#[test]
fn revert_all_puts_everything_back() {
    let world = World::new();
    world.write(CGROUP, "memory.high", &(110 * MIB).to_string());
    let (mut executor, _) = taken(&world);
    one(&mut executor, &world.raise_high(110 * MIB, 200 * MIB));
    assert_eq!(world.read(CGROUP, "memory.high"), (200 * MIB).to_string());
    let outcomes = executor.revert_all("SIGTERM");
    assert_eq!(outcomes.len(), 2);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.result == StepResult::Done && outcome.reason == "SIGTERM")
    );
    assert_eq!(world.read(CGROUP, "memory.high"), (110 * MIB).to_string());
    assert_eq!(world.swap_max(), "max");
    assert!(world.on_record().is_empty() && executor.is_settled());
    assert!(executor.revert_unit("other.service", "by hand").is_empty());
}

#[test]
fn memory_high_waits_until_usage_is_below_unless_forced() {
    let world = World::new();
    world.write(CGROUP, "memory.high", &(110 * MIB).to_string());
    let mut executor = world.executor();
    let lease = one(&mut executor, &world.raise_high(110 * MIB, 200 * MIB))
        .lease
        .unwrap();
    world.write(CGROUP, "memory.current", &(150 * MIB).to_string());
    let outcome = one(&mut executor, &world.end(lease));
    assert!(
        matches!(&outcome.result, StepResult::Failed(why) if why.contains("would block")),
        "{outcome:?}"
    );
    assert_eq!(world.read(CGROUP, "memory.high"), (200 * MIB).to_string());
    assert_eq!(executor.views(UNIT).len(), 1);
    // SIGTERM: regardless, in a thread of its own.
    let outcomes = executor.revert_all("SIGTERM");
    assert_eq!(outcomes[0].result, StepResult::Done);
    // The kernel takes the value first and reclaims then; the agent may end as soon as it has taken it.
    assert_eq!(world.read(CGROUP, "memory.high"), (110 * MIB).to_string());
    assert!(world.on_record().is_empty());
}

#[test]
fn a_value_that_freeze_had_before_is_still_ours() {
    let world = World::new();
    let mut executor = world.executor();
    let freeze = crate::config::OnCriticalSwap::Freeze;
    executor.execute(&world.freeze(Limit::Max, 12 * MIB), freeze);
    executor.execute(&world.freeze(Limit::Bytes(12 * MIB), 8 * MIB), freeze);
    let outcomes = executor.revert_all("SIGTERM");
    assert_eq!(outcomes[0].new, Some(Limit::Max));
    assert_eq!(world.swap_max(), "max");
}
