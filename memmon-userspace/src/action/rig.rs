//! An executor, a worker and a fake systemd, for tests.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use tokio::sync::mpsc;

use super::execute::Options;
use super::fake_systemd::{self, Fake, FakeUnit};
use super::systemd::{Bus, Job, Report, work};
use super::test_support::*;
use super::{Executor, LeaseState, Outcome, StepResult};
use crate::decode::Limit;

/// The drop-in that the lease on `MemorySwapMax` makes.
pub(super) const DROP_IN: &str = "run/systemd/system.control/omnimind.service.d/50-MemorySwapMax.conf";

/// A world with a bus, a systemd on it, a worker and an executor.
pub(super) struct Rig {
    pub(super) executor: Executor,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) fake: Option<Fake>,
    pub(super) bus: Option<fake_systemd::Bus>,
    pub(super) world: World,
}

impl Rig {
    pub(super) async fn with(unit: FakeUnit) -> Self {
        let world = World::new();
        let bus = fake_systemd::Bus::start(world.dir.path());
        let fake = Fake::start(&bus.address, world.dir.path(), &[(UNIT, unit)]).await;
        let options = Options {
            systemd: true,
            ..world.options()
        };
        Self::on(world, Some(bus), Some(fake), options)
    }

    pub(super) async fn new() -> Self {
        Self::with(FakeUnit::new(CGROUP)).await
    }

    /// Must be called inside the test's runtime: it starts the worker.
    pub(super) fn on(
        world: World,
        bus: Option<fake_systemd::Bus>,
        fake: Option<Fake>,
        options: Options,
    ) -> Self {
        let (executor, _, _) = world.open(options);
        let (jobs, jobs_rx) = mpsc::channel(4);
        let (reports_tx, reports) = mpsc::channel(4);
        let address = fake_systemd::Bus::address_in(world.dir.path());
        tokio::spawn(work(
            Bus::Address(address),
            world.dir.path().to_owned(),
            jobs_rx,
            reports_tx,
        ));
        Self {
            executor,
            jobs,
            reports,
            fake,
            bus,
            world,
        }
    }

    /// kill -9 of the agent, and the next one's start.
    pub(super) fn restarted(self) -> (Self, Vec<Outcome>) {
        let Self { world, bus, fake, .. } = self;
        let options = Options {
            systemd: true,
            ..world.options()
        };
        let rig = Self::on(world, bus, fake, options);
        (rig, Vec::new())
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, fake_systemd::State> {
        self.fake.as_ref().unwrap().state()
    }

    /// Goes on until nothing is left to be done.
    pub(super) async fn settle(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while !self.executor.is_settled() {
            outcomes.extend(self.step().await);
        }
        outcomes
    }

    pub(super) async fn step(&mut self) -> Vec<Outcome> {
        self.executor.pump(&self.jobs);
        let report = tokio::time::timeout(Duration::from_secs(20), self.reports.recv()).await;
        self.executor.report(report.expect("the worker answers").unwrap())
    }

    pub(super) async fn protected() -> Self {
        let mut rig = Self::new().await;
        rig.protect().await;
        rig
    }

    pub(super) async fn protect(&mut self) -> Vec<Outcome> {
        let old = self.executor_file();
        assert_eq!(
            one(&mut self.executor, &self.world.protect(old)).result,
            StepResult::Done
        );
        self.settle().await
    }

    pub(super) fn executor_file(&self) -> Limit {
        crate::decode::cgroup_file::limit(&self.world.swap_max()).unwrap()
    }

    pub(super) fn lease_state(&self) -> LeaseState {
        self.executor.leases().next().unwrap().state.clone()
    }

    pub(super) fn property(&self) -> u64 {
        self.state().units[UNIT].current["MemorySwapMax"]
    }

    pub(super) fn drop_in(&self) -> Option<String> {
        fs::read_to_string(self.world.dir.path().join(DROP_IN)).ok()
    }

    /// An operator's `systemctl daemon-reload`.
    pub(super) async fn daemon_reload(&mut self) -> Vec<Outcome> {
        self.state().reload();
        self.executor.reloaded();
        self.settle().await
    }

    #[track_caller]
    pub(super) fn assert_untouched(&self, value: &str) {
        assert_eq!(self.world.swap_max(), value, "cgroup file");
        assert_eq!(self.drop_in(), None, "our drop-in");
        assert!(
            !self
                .world
                .dir
                .path()
                .join("run/systemd/system.control/omnimind.service.d")
                .exists()
        );
        assert!(self.world.on_record().is_empty() && self.executor.leases().next().is_none());
    }
}
