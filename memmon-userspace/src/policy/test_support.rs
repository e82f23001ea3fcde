//! Builders for the tests of this stage.

use std::time::Duration;

use super::{CriticalEvent, LeaseId, LeaseView, MonoTime, Property, Relation, Situation, Snapshot, State};
use crate::config::{OnCriticalSwap, Priority, Reaction, WritePath};
use crate::decode::{Level, SwapLevel};
use crate::decode::{Limit, MemInfo, Pressure, PressureLine, ReclaimKind};

pub(super) const MIB: u64 = 1 << 20;
pub(super) const UNIT: &str = "omnimind.service";
pub(super) const CGROUP: &str = "/ai.slice/omnimind.service";
pub(super) const NOW: MonoTime = MonoTime(1_000_000_000_000);

pub(super) fn level(path: &str, current: u64) -> Level {
    Level {
        path: path.into(),
        max: Limit::Max,
        high: Limit::Max,
        current,
        swap: Some(SwapLevel {
            max: Limit::Max,
            current: 12 * MIB,
        }),
    }
}

/// A critical unit of 2,000 MiB in a slice of 3,000 MiB, nothing limited, on an 8 GiB host with room.
pub(super) fn snapshot() -> Snapshot {
    Snapshot {
        unit: UNIT.into(),
        priority: Priority::Critical,
        cgroup: CGROUP.into(),
        cgroup_id: 1765,
        chain: vec![level(CGROUP, 2000 * MIB), level("/ai.slice", 3000 * MIB)],
        below: Vec::new(),
        below_complete: true,
        tagged: false,
        host: MemInfo {
            total: 8192 * MIB,
            available: 4096 * MIB,
            swap_total: 1024 * MIB,
            swap_free: 1000 * MIB,
        },
        elsewhere: 5000 * MIB,
        situation: Situation::Normal,
        pressure: Some(pressure(0)),
        event: None,
    }
}

pub(super) fn event(
    kind: ReclaimKind,
    relation: Relation,
    reclaimer: Option<&str>,
    comm: &str,
) -> CriticalEvent {
    CriticalEvent {
        pages: 32,
        kind,
        relation,
        reclaimer: reclaimer.map(Into::into),
        comm: comm.into(),
        region: None,
    }
}

pub(super) fn kswapd() -> CriticalEvent {
    event(ReclaimKind::Kswapd, Relation::Unknown, None, "kswapd0")
}

pub(super) fn reaction(on_critical_swap: OnCriticalSwap) -> Reaction {
    Reaction {
        on_critical_swap,
        write_path: WritePath::CgroupThenSystemd,
        hold: Duration::from_secs(600),
    }
}

pub(super) fn pressure(total_us: u64) -> Pressure {
    Pressure {
        some: PressureLine {
            total_us,
            ..PressureLine::default()
        },
        full: PressureLine::default(),
    }
}

pub(super) fn lease(property: Property, old: Limit, new: Limit, mode: OnCriticalSwap) -> LeaseView {
    LeaseView {
        id: LeaseId(7),
        property,
        cgroup_id: 1765,
        old,
        new,
        mode,
        deadline: NOW,
    }
}

pub(super) fn state(leases: Vec<LeaseView>) -> State {
    State {
        leases,
        ..State::default()
    }
}
