#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use super::super::rig::Rig;
use super::super::test_support::*;
use super::*;

impl Rig {
    /// systemd starts the unit again: another cgroup at the same path, with the runtime property.
    fn restart(&mut self) -> u64 {
        let cgroup = self.world.dir.path().join("cgroup/ai.slice/omnimind.service");
        fs::rename(cgroup, self.world.dir.path().join("before")).unwrap();
        self.world.cgroup(CGROUP);
        let inode = self.world.inode(CGROUP);
        assert!(self.executor.cgroup_added(UNIT, CGROUP, inode));
        inode
    }

    fn systemd_applies(&self) {
        self.state().reload();
        assert_eq!(self.world.swap_max(), "0");
    }
}

#[tokio::test]
async fn a_lease_moves_to_the_cgroup_of_the_restarted_unit() {
    let mut rig = Rig::protected().await;
    let inode = rig.restart();
    rig.systemd_applies();
    assert_eq!(rig.settle().await, []);
    let lease = rig.world.on_record().remove(0);
    assert_eq!((lease.inode, lease.cgroup.as_str()), (inode, CGROUP));
    assert_eq!(
        rig.executor
            .guarded()
            .map(|lease| lease.inode)
            .collect::<Vec<_>>(),
        [inode]
    );
    // Known already.
    assert!(!rig.executor.cgroup_added(UNIT, CGROUP, inode));
    // A limit is hit: swap comes back with one write, long before systemd has followed.
    let outcomes = rig
        .executor
        .execute(&rig.world.end(lease.id), crate::config::OnCriticalSwap::Auto);
    assert_eq!(outcomes[0].result, StepResult::Done);
    assert_eq!((rig.world.swap_max().as_str(), rig.property()), ("max", 0));
    rig.settle().await;
    rig.assert_untouched("max");
}

#[tokio::test]
async fn swap_comes_back_again_if_systemd_writes_its_value_late() {
    let mut rig = Rig::protected().await;
    let id = rig.executor.leases().next().unwrap().id;
    rig.restart();
    // The lease ends before systemd has given the new cgroup its limits.
    let outcomes = rig
        .executor
        .execute(&rig.world.end(id), crate::config::OnCriticalSwap::Auto);
    assert_eq!(outcomes, []);
    rig.systemd_applies();
    let again = rig.executor.give_back_again(&[CGROUP.to_owned()]);
    assert_eq!((again.len(), rig.world.swap_max().as_str()), (1, "max"));
    rig.systemd_applies();
    let outcomes = rig.step().await;
    assert_eq!((outcomes.len(), rig.world.swap_max().as_str()), (1, "max"));
    rig.settle().await;
    rig.assert_untouched("max");
}

#[tokio::test]
async fn an_operators_write_ends_the_lease_and_survives_the_reload() {
    let mut rig = Rig::protected().await;
    assert_eq!(rig.executor.look_at_files(UNIT), []);
    assert!(rig.executor.is_settled());
    rig.world.write(CGROUP, "memory.swap.max", "1048576");
    rig.executor.look_at_files(UNIT);
    let outcomes = rig.settle().await;
    assert!(
        matches!(&outcomes[0].result, StepResult::Skipped(why) if why.contains("1048576")),
        "{outcomes:?}"
    );
    assert_eq!(rig.executor.theirs(UNIT), Some(Limit::Bytes(1 << 20)));
    rig.assert_untouched("1048576");
    // As any direct write, a daemon-reload undoes this one: not as long as the alarm is on.
    rig.daemon_reload().await;
    assert_eq!(rig.world.swap_max(), "max");
    assert_eq!(rig.executor.look_at_files(UNIT).len(), 1);
    rig.assert_untouched("1048576");
    // Without a reload it is somebody's will again.
    rig.world.advance(Duration::from_secs(11));
    rig.world.write(CGROUP, "memory.swap.max", "max");
    assert_eq!(rig.executor.look_at_files(UNIT), []);
    rig.executor.forget_theirs(UNIT);
    rig.daemon_reload().await;
    assert_eq!(rig.executor.look_at_files(UNIT), []);
    rig.assert_untouched("max");
}

#[tokio::test]
async fn an_operators_max_ends_the_lease_as_well() {
    let mut rig = Rig::protected().await;
    rig.world.write(CGROUP, "memory.swap.max", "max");
    rig.executor.look_at_files(UNIT);
    rig.settle().await;
    assert_eq!(rig.executor.theirs(UNIT), Some(Limit::Max));
    rig.assert_untouched("max");
}

#[test]
fn without_systemd_an_operators_write_ends_the_lease() {
    let world = World::new();
    let mut executor = world.executor();
    one(&mut executor, &world.protect(Limit::Max));
    assert_eq!(executor.look_at_files(UNIT), []);
    world.write(CGROUP, "memory.swap.max", "1048576");
    let outcomes = executor.look_at_files(UNIT);
    assert!(
        matches!(&outcomes[0].result, StepResult::Skipped(why) if why.contains("1048576")),
        "{outcomes:?}"
    );
    assert_eq!(
        (world.swap_max().as_str(), world.on_record().len()),
        ("1048576", 0)
    );
}

#[tokio::test]
async fn in_the_cgroup_file_alone_a_reload_has_time_to_be_put_right() {
    let mut rig = Rig::new().await;
    rig.world.write(CGROUP, "memory.high", "1073741824");
    rig.protect().await;
    assert!(matches!(rig.lease_state(), LeaseState::CgroupOnly { .. }));
    rig.world.write(CGROUP, "memory.swap.max", "1048576");
    assert_eq!(rig.executor.look_at_files(UNIT), []);
    rig.world.advance(Duration::from_secs(9));
    assert_eq!(rig.executor.look_at_files(UNIT), []);
    rig.world.advance(Duration::from_secs(1));
    let outcomes = rig.executor.look_at_files(UNIT);
    assert_eq!((outcomes.len(), rig.executor.leases().count()), (1, 0));
    assert_eq!(rig.world.swap_max(), "1048576");
}
