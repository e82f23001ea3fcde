//! A fake cgroup tree and an executor on it, for the tests of this stage.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Executor, Lease, Options, Outcome, Recovered};
use crate::config::{OnCriticalSwap, WritePath};
use crate::decode::Limit;
use crate::policy::{Action, Alarm, Decision, LeaseId, LimitChange, MonoTime, Planned, Property, Severity};

pub(super) const UNIT: &str = "omnimind.service";
pub(super) const CGROUP: &str = "/ai.slice/omnimind.service";
pub(super) const MIB: u64 = 1 << 20;

/// A directory with `cgroup/`, `run/memmon/` and room for `run/systemd/`, and a clock that tests move.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    clock: Arc<AtomicU64>,
}

impl World {
    pub(super) fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(AtomicU64::new(1_000_000_000)),
        };
        world.cgroup("/ai.slice");
        world.cgroup(CGROUP);
        world
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("cgroup")
    }

    fn file(&self, cgroup: &str, file: &str) -> PathBuf {
        self.root().join(cgroup.trim_start_matches('/')).join(file)
    }

    /// Makes a cgroup in which nothing is limited and 100 MiB are used, 12 of them in swap.
    pub(super) fn cgroup(&self, path: &str) {
        fs::create_dir_all(self.file(path, "")).unwrap();
        for (file, text) in [
            ("cgroup.procs", ""),
            ("memory.min", "0"),
            ("memory.low", "0"),
            ("memory.high", "max"),
            ("memory.max", "max"),
            ("memory.current", "104857600"),
            ("memory.swap.max", "max"),
            ("memory.swap.current", "12582912"),
            ("memory.oom.group", "0"),
        ] {
            self.write(path, file, text);
        }
    }

    pub(super) fn remove(&self, path: &str) {
        fs::remove_dir_all(self.file(path, "")).unwrap();
    }

    pub(super) fn write(&self, cgroup: &str, file: &str, text: &str) {
        fs::write(self.file(cgroup, file), format!("{text}\n")).unwrap();
    }

    pub(super) fn read(&self, cgroup: &str, file: &str) -> String {
        fs::read_to_string(self.file(cgroup, file))
            .unwrap()
            .trim_end()
            .to_owned()
    }

    pub(super) fn swap_max(&self) -> String {
        self.read(CGROUP, "memory.swap.max")
    }

    pub(super) fn inode(&self, cgroup: &str) -> u64 {
        fs::metadata(self.file(cgroup, "")).unwrap().ino()
    }

    pub(super) fn now(&self) -> MonoTime {
        MonoTime(self.clock.load(Ordering::Relaxed))
    }

    pub(super) fn advance(&self, by: Duration) {
        self.clock.store(self.now().after(by).0, Ordering::Relaxed);
    }

    pub(super) fn options(&self) -> Options {
        let clock = Arc::clone(&self.clock);
        Options {
            cgroup_root: self.root(),
            lease_dir: self.dir.path().join("run/memmon"),
            dry_run: false,
            write_path: WritePath::CgroupThenSystemd,
            systemd: false,
            page_size: 4096,
            clock: Box::new(move || MonoTime(clock.load(Ordering::Relaxed))),
        }
    }

    pub(super) fn open(&self, options: Options) -> (Executor, Recovered, Vec<Outcome>) {
        Executor::open(options).unwrap()
    }

    pub(super) fn executor(&self) -> Executor {
        self.open(self.options()).0
    }

    /// What a new agent would find on record.
    pub(super) fn on_record(&self) -> Vec<Lease> {
        let copy = tempfile::tempdir().unwrap();
        let from = self.dir.path().join("run/memmon/leases.json");
        if from.exists() {
            fs::copy(from, copy.path().join("leases.json")).unwrap();
        }
        super::Journal::open(copy.path()).unwrap().1.leases
    }

    pub(super) fn decision(&self, actions: Vec<Action>) -> Decision {
        Decision {
            unit: UNIT.into(),
            cgroup: CGROUP.into(),
            cgroup_id: self.inode(CGROUP),
            alarm: Some(Alarm {
                severity: Severity::Critical,
                reason: "a page went to swap".into(),
            }),
            actions: actions
                .into_iter()
                .map(|action| Planned {
                    action,
                    reason: "test".into(),
                })
                .collect(),
        }
    }

    fn change(&self, property: Property, old: Limit, new: Limit) -> LimitChange {
        LimitChange {
            property,
            old,
            new,
            deadline: self.now().after(Duration::from_secs(600)),
        }
    }

    /// `MemorySwapMax` from `old` to 0.
    pub(super) fn protect(&self, old: Limit) -> Decision {
        self.decision(vec![Action::Protect(self.change(
            Property::MemorySwapMax,
            old,
            Limit::Bytes(0),
        ))])
    }

    pub(super) fn freeze(&self, old: Limit, new: u64) -> Decision {
        self.decision(vec![Action::Freeze(self.change(
            Property::MemorySwapMax,
            old,
            Limit::Bytes(new),
        ))])
    }

    pub(super) fn raise_high(&self, old: u64, new: u64) -> Decision {
        let change = self.change(Property::MemoryHigh, Limit::Bytes(old), Limit::Bytes(new));
        self.decision(vec![Action::RaiseHigh(change)])
    }

    pub(super) fn end(&self, lease: LeaseId) -> Decision {
        self.decision(vec![Action::Revert { lease }])
    }
}

/// Carries out a decision with one step, taken under `auto`.
pub(super) fn one(executor: &mut Executor, decision: &Decision) -> Outcome {
    let mut outcomes = executor.execute(decision, OnCriticalSwap::Auto);
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.remove(0)
}
