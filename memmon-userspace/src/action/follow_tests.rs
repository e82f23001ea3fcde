#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use super::super::rig::Rig;
use super::super::test_support::*;
use crate::action::StepResult;

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
