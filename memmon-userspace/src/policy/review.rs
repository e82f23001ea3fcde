//! Review of a unit's leases: which end, which stay, and until when.

use super::headroom::{Headroom, HostRoom, Size};
use super::{
    Action, Decision, LeaseView, LimitChange, MonoTime, Planned, Property, Situation, Snapshot, State,
};
use crate::config::{OnCriticalSwap, Reaction};
use crate::decode::Level;
use crate::decode::Limit;

/// Share of time with at least one task stalled on memory from which a unit is not quiet.
const STALLED: f64 = 0.05;

/// Reviews all leases of the unit. `MemorySwapMax` comes first: `MemoryHigh` stays up as long as the unit
/// may not swap, since going back to it would leave the unit no way out.
pub(super) fn review(snapshot: &Snapshot, config: &Reaction, state: &State, now: MonoTime) -> Decision {
    let unrest = unrest(snapshot, state, now, config);
    let mut actions = Vec::new();
    let mut swap_stays = false;
    let mut leases: Vec<&LeaseView> = state.leases.iter().collect();
    leases.sort_by_key(|lease| (lease.property, lease.id));
    for lease in leases {
        let Some(unit) = snapshot.chain.first() else {
            let reason = format!("cgroup {} is gone", snapshot.cgroup);
            actions.push(if now < lease.deadline {
                // A property outlives the cgroup: the unit may be restarting, and is as critical as before.
                keep(lease, lease.deadline, reason)
            } else {
                Planned {
                    action: Action::Revert { lease: lease.id },
                    reason,
                }
            });
            continue;
        };
        actions.extend(ratchet(unit, lease, config, now));
        let verdict = verdict(snapshot, state, lease, unrest.as_deref(), swap_stays, config, now);
        swap_stays |=
            lease.property == Property::MemorySwapMax && matches!(verdict.action, Action::Keep { .. });
        actions.push(verdict);
    }
    if actions.is_empty() {
        actions.push(Planned {
            action: Action::None,
            reason: format!("{} has no lease", snapshot.unit),
        });
    }
    Decision {
        unit: snapshot.unit.clone(),
        cgroup: snapshot.cgroup.clone(),
        cgroup_id: snapshot.cgroup_id,
        alarm: None,
        actions,
    }
}

fn keep(lease: &LeaseView, until: MonoTime, reason: String) -> Planned {
    Planned {
        action: Action::Keep {
            lease: lease.id,
            until,
        },
        reason,
    }
}

fn verdict(
    snapshot: &Snapshot,
    state: &State,
    lease: &LeaseView,
    unrest: Option<&str>,
    swap_stays: bool,
    config: &Reaction,
    now: MonoTime,
) -> Planned {
    let revert = |reason: String| Planned {
        action: Action::Revert { lease: lease.id },
        reason,
    };
    if lease.property == Property::MemorySwapMax
        && lease.mode == OnCriticalSwap::Auto
        && let Some(why) = may_need_swap(snapshot, state)
    {
        return revert(why);
    }
    // A slice is spared for the sake of critical units in it, and has no such priority itself.
    let for_others = lease.property == Property::MemoryLow && snapshot.unit.ends_with(".slice");
    if !snapshot.is_protected() && !for_others {
        return revert(format!(
            "{} is no longer declared critical, and nothing in it is",
            snapshot.unit
        ));
    }
    if let Some(unrest) = unrest {
        return keep(lease, now.after(config.hold), unrest.to_owned());
    }
    if now < lease.deadline {
        return keep(lease, lease.deadline, "quiet, but not yet for long enough".into());
    }
    if lease.property == Property::MemoryHigh {
        if swap_stays {
            return keep(lease, lease.deadline, "MemorySwapMax has to be back first".into());
        }
        let usage = snapshot.chain.first().map_or(0, |unit| unit.current);
        if lease.old <= Limit::Bytes(usage) {
            let reason = format!(
                "usage {} is not below the old MemoryHigh {}",
                Size(usage),
                lease.old
            );
            return keep(lease, lease.deadline, reason);
        }
    }
    revert(format!("quiet for {}", humantime::format_duration(config.hold)))
}

/// Why the unit gets its swap back although memmon stopped it by its own judgement, whatever else is going on.
fn may_need_swap(snapshot: &Snapshot, state: &State) -> Option<String> {
    let host = HostRoom::of(snapshot);
    if host.is_gone() {
        return Some(format!(
            "the host is close to an OOM kill and may have to swap the unit: what binds is {host}"
        ));
    }
    let headroom = Headroom::of(snapshot);
    let gone = headroom.is_gone();
    let binding = headroom.binding?;
    if gone {
        return Some(format!(
            "the unit has grown towards a limit and may need swap again: {binding}"
        ));
    }
    // How much it will use is not known, and it may get there faster than anybody can look.
    state
        .started_again
        .then(|| format!("the unit was started again and will grow, which a limit bounds: {binding}"))
}

/// Freeze follows the pages that have come back, downwards only.
fn ratchet(unit: &Level, lease: &LeaseView, config: &Reaction, now: MonoTime) -> Option<Planned> {
    let swap = unit.swap?;
    let new = Limit::Bytes(swap.current);
    let applies = lease.property == Property::MemorySwapMax
        && lease.mode == OnCriticalSwap::Freeze
        && swap.max == lease.new
        && new < lease.new;
    applies.then(|| Planned {
        action: Action::Freeze(LimitChange {
            property: Property::MemorySwapMax,
            old: lease.new,
            new,
            deadline: lease.deadline.max(now.after(config.hold)),
        }),
        reason: format!("pages have come back: {} are still in swap", Size(swap.current)),
    })
}

/// Why the unit is not quiet; `None` if it is. A limit of ours blocks swap-outs, so that none were seen
/// proves nothing: the host's situation and the unit's own stalls must be low as well.
fn unrest(snapshot: &Snapshot, state: &State, now: MonoTime, config: &Reaction) -> Option<String> {
    if let Some(last) = state.last_critical {
        let ago = now.since(last);
        if ago < config.hold {
            return Some(format!("a page went to swap {} s ago", ago.as_secs()));
        }
    }
    if snapshot.situation != Situation::Normal {
        return Some(format!(
            "the host's memory situation is {}",
            snapshot.situation.as_str()
        ));
    }
    let share = stalled_share(snapshot, state, now)?;
    (share >= STALLED).then(|| {
        format!(
            "tasks of the unit were stalled on memory {:.1} % of the time",
            share * 100.0
        )
    })
}

/// Share of the time since the last review in which a task of the unit was stalled on memory; for the first
/// review the kernel's own average over a minute. `None` if the kernel does not account it.
fn stalled_share(snapshot: &Snapshot, state: &State, now: MonoTime) -> Option<f64> {
    let pressure = snapshot.pressure?;
    let before = state
        .pressure
        .filter(|sample| sample.cgroup_id == snapshot.cgroup_id && sample.at < now);
    Some(match before {
        Some(before) => {
            let stalled = pressure.some.total_us.saturating_sub(before.some_us);
            std::time::Duration::from_micros(stalled).as_secs_f64() / now.since(before.at).as_secs_f64()
        }
        None => pressure.some.avg60 / 100.0,
    })
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
