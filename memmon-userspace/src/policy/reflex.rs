//! The reflex: a page of a critical unit went to swap.

use super::headroom::{Headroom, HostRoom, Size};
use super::{
    Action, Alarm, CriticalEvent, Decision, LimitChange, MonoTime, Planned, Property, Relation, Severity,
    Snapshot, State, never_touched,
};
use crate::config::{OnCriticalSwap, Reaction};
use crate::decode::SwapLevel;
use crate::decode::{Limit, ReclaimKind};

/// Answers one event.
pub(super) fn reflex(
    snapshot: &Snapshot,
    event: &CriticalEvent,
    config: &Reaction,
    state: &State,
    now: MonoTime,
) -> Decision {
    let actions = actions(snapshot, event, config, state, now);
    let region = event
        .region
        .as_ref()
        .map(|region| format!(" of region \"{}\" ({})", region.label, region.comm));
    let mut reason = format!(
        "{}{} of {} went to swap: {}",
        pages(event.pages),
        region.unwrap_or_default(),
        snapshot.unit,
        occasion(event)
    );
    let headroom = Headroom::of(snapshot);
    if let Some(binding) = headroom
        .binding
        .as_ref()
        .filter(|_| is_own_limit(event) || !headroom.suffices())
    {
        reason.push_str(&format!("; nearest limit: {binding}"));
    } else if !HostRoom::of(snapshot).suffices() {
        reason.push_str(&format!("; nearest limit: {}", HostRoom::of(snapshot)));
    }
    Decision {
        unit: snapshot.unit.clone(),
        cgroup: snapshot.cgroup.clone(),
        cgroup_id: snapshot.cgroup_id,
        alarm: Some(Alarm {
            severity: Severity::Critical,
            reason,
        }),
        actions,
    }
}

fn actions(
    snapshot: &Snapshot,
    event: &CriticalEvent,
    config: &Reaction,
    state: &State,
    now: MonoTime,
) -> Vec<Planned> {
    let none = |reason: String| {
        vec![Planned {
            action: Action::None,
            reason,
        }]
    };
    if let Some(why) = never_touched(&snapshot.unit, state.own_unit.as_deref()) {
        return none(format!("{} is never acted upon: {why}", snapshot.unit));
    }
    if !snapshot.is_protected() {
        return none(match event.region {
            Some(_) => format!(
                "{} has priority {}: tagged regions are acted upon from medium on",
                snapshot.unit, snapshot.priority
            ),
            None => format!("{} is not declared critical", snapshot.unit),
        });
    }
    if config.on_critical_swap == OnCriticalSwap::AlarmOnly {
        return none("on_critical_swap is alarm-only".into());
    }
    let Some(unit) = snapshot.chain.first() else {
        return none(format!("cgroup {} is gone", snapshot.cgroup));
    };
    let Some(swap) = unit.swap else {
        return none("this kernel has no memory.swap.max (swap accounting is off)".into());
    };
    if let Some(settled) = settled(snapshot, state, swap) {
        return none(settled);
    }
    let change = |new: Limit| LimitChange {
        property: Property::MemorySwapMax,
        old: swap.max,
        new,
        deadline: now.after(config.hold),
    };
    let headroom = Headroom::of(snapshot);
    match config.on_critical_swap {
        OnCriticalSwap::AlarmOnly => none("on_critical_swap is alarm-only".into()),
        OnCriticalSwap::Zero => vec![Planned {
            action: Action::Protect(change(Limit::Bytes(0))),
            reason: zero_reason(&headroom),
        }],
        OnCriticalSwap::Freeze => freeze(swap, change),
        OnCriticalSwap::Auto => match unsafe_to_zero(snapshot, event, &headroom) {
            None => vec![Planned {
                action: Action::Protect(change(Limit::Bytes(0))),
                reason: auto_reason(event, &headroom),
            }],
            Some(why) => relieve(snapshot, &headroom, state, now.after(config.hold), why),
        },
    }
}

/// Why there is nothing left to tighten, if so.
fn settled(snapshot: &Snapshot, state: &State, swap: SwapLevel) -> Option<String> {
    if let Some(lease) = state.lease(Property::MemorySwapMax, snapshot.cgroup_id) {
        return Some(if swap.max == lease.new {
            format!("MemorySwapMax is {} on lease {} already", lease.new, lease.id)
        } else {
            format!(
                "MemorySwapMax was set to {} after lease {} was taken: kept",
                swap.max, lease.id
            )
        });
    }
    if state.theirs == Some(swap.max) {
        return Some(format!(
            "somebody else has set MemorySwapMax to {} while memmon had it on a lease: kept as long as the alarm is on",
            swap.max
        ));
    }
    let zero = snapshot
        .chain
        .iter()
        .find(|level| level.swap.is_some_and(|swap| swap.max == Limit::Bytes(0)))?;
    Some(format!(
        "memory.swap.max of {} is 0 already: these pages were on their way before it",
        zero.path
    ))
}

/// Why stopping the unit's swap could end in an OOM kill; `None` if it cannot.
fn unsafe_to_zero(snapshot: &Snapshot, event: &CriticalEvent, headroom: &Headroom) -> Option<String> {
    if is_own_limit(event) {
        let binding = headroom.binding.as_ref().map_or_else(
            || "a limit that has since been lifted".into(),
            |binding| format!("{binding}"),
        );
        return Some(format!("a limit that applies to the unit was hit ({binding})"));
    }
    if !headroom.suffices() {
        let binding = headroom.binding.as_ref()?;
        return Some(format!(
            "headroom is below the {} that auto asks for: {binding}",
            Size(headroom.needed)
        ));
    }
    let host = HostRoom::of(snapshot);
    if !host.suffices() {
        return Some(format!("what binds is {host}"));
    }
    (!snapshot.below_complete)
        .then(|| "there are more cgroups below the unit than could be looked at for limits".into())
}

/// The page went out because of a limit of the unit itself, of an ancestor, or of a cgroup inside it.
fn is_own_limit(event: &CriticalEvent) -> bool {
    match event.kind {
        // For these the culprit is the cgroup whose limit was hit, or (`memcg`) the task that may have hit it.
        ReclaimKind::Limit | ReclaimKind::Memcg => event.relation != Relation::Elsewhere,
        // These reclaim on behalf of the host or of whoever asked, whatever the limits are.
        ReclaimKind::Kswapd
        | ReclaimKind::Direct
        | ReclaimKind::Proactive
        | ReclaimKind::Madvise
        | ReclaimKind::Other => false,
    }
}

fn freeze(swap: SwapLevel, change: impl Fn(Limit) -> LimitChange) -> Vec<Planned> {
    let now = Limit::Bytes(swap.current);
    if swap.max <= now {
        let reason = format!(
            "MemorySwapMax is {} and {} are in swap: freeze never raises it",
            swap.max,
            Size(swap.current)
        );
        return vec![Planned {
            action: Action::None,
            reason,
        }];
    }
    let reason = format!("freeze: {} are in swap, no more may follow", Size(swap.current));
    vec![Planned {
        action: Action::Freeze(change(now)),
        reason,
    }]
}

/// Where stopping the swap would be dangerous: raise a finite `MemoryHigh` if that is what binds and the
/// host has room, else leave it at the alarm.
fn relieve(
    snapshot: &Snapshot,
    headroom: &Headroom,
    state: &State,
    deadline: MonoTime,
    why: String,
) -> Vec<Planned> {
    let not_zero =
        format!("{why}: without swap that ends in an OOM kill or a standstill, so swap stays allowed");
    match raise_high(snapshot, headroom, state, deadline) {
        Ok((change, reason)) => vec![
            Planned {
                action: Action::RaiseHigh(change),
                reason,
            },
            Planned {
                action: Action::None,
                reason: not_zero,
            },
        ],
        Err(because) => {
            let reason = if because.is_empty() {
                not_zero
            } else {
                format!("{not_zero}; {because}")
            };
            vec![Planned {
                action: Action::None,
                reason,
            }]
        }
    }
}

/// Room for a unit whose own `MemoryHigh` binds; else why not, empty if that is not what binds.
pub(super) fn raise_high(
    snapshot: &Snapshot,
    headroom: &Headroom,
    state: &State,
    deadline: MonoTime,
) -> Result<(LimitChange, String), String> {
    let (Some(unit), Some(binding)) = (snapshot.chain.first(), &headroom.binding) else {
        return Err(String::new());
    };
    let Limit::Bytes(high) = unit.high else {
        return Err(String::new());
    };
    if binding.file != "memory.high" || binding.cgroup != unit.path {
        return Err(String::new());
    }
    if state.lease(Property::MemoryHigh, snapshot.cgroup_id).is_some() {
        return Err("MemoryHigh has been raised on a lease already".into());
    }
    // Room for twice what auto asks for, so that the same unit is not back here with its next page.
    let room = headroom.needed.saturating_mul(2);
    let spare = snapshot.host.available.saturating_sub(snapshot.host.total / 10);
    if spare < room {
        return Err(format!(
            "MemoryHigh is not raised: the host can spare {} of {}",
            Size(spare),
            Size(room)
        ));
    }
    let ceiling = snapshot
        .chain
        .iter()
        .map(|level| level.max)
        .min()
        .unwrap_or(Limit::Max);
    let new = Limit::Bytes(unit.current.saturating_add(room)).min(ceiling);
    if new <= unit.high {
        return Err("MemoryHigh is not raised: it is at the effective MemoryMax".into());
    }
    let reason = format!(
        "{} uses {} of MemoryHigh {} and the host can spare {}",
        snapshot.unit,
        Size(unit.current),
        Size(high),
        Size(spare)
    );
    Ok((
        LimitChange {
            property: Property::MemoryHigh,
            old: unit.high,
            new,
            deadline,
        },
        reason,
    ))
}

fn auto_reason(event: &CriticalEvent, headroom: &Headroom) -> String {
    format!("{}; {}", occasion(event), room(headroom))
}

/// How much room the unit's limits leave it, in words.
pub(super) fn room(headroom: &Headroom) -> String {
    headroom.binding.as_ref().map_or_else(
        || "no limit is set on the unit or above it".into(),
        |binding| format!("{binding} (auto asks for {})", Size(headroom.needed)),
    )
}

fn zero_reason(headroom: &Headroom) -> String {
    match &headroom.binding {
        Some(binding) if !headroom.suffices() => {
            format!("zero, by the operator's word, although an OOM kill may follow: {binding}")
        }
        _ => "zero, by the operator's word".into(),
    }
}

fn pages(count: u64) -> String {
    if count == 1 {
        "1 page".into()
    } else {
        format!("{count} pages")
    }
}

/// Who did it, in words.
fn occasion(event: &CriticalEvent) -> String {
    let who = event.reclaimer.as_deref().unwrap_or("an unknown cgroup");
    let comm = &event.comm;
    match event.kind {
        ReclaimKind::Kswapd => "kswapd reclaims for the host".into(),
        ReclaimKind::Direct => format!("{who} ({comm}) found the host short of free pages"),
        ReclaimKind::Limit => format!("the limit of {who} was hit"),
        ReclaimKind::Proactive => format!("{who} ({comm}) wrote memory.reclaim"),
        ReclaimKind::Madvise => format!("{who} ({comm}) asked for it with MADV_PAGEOUT"),
        ReclaimKind::Memcg => {
            format!("{who} ({comm}) hit a limit or wrote memory.reclaim, this kernel cannot tell which")
        }
        ReclaimKind::Other => format!("reclaim by {comm}"),
    }
}

#[cfg(test)]
#[path = "reflex_tests.rs"]
mod tests;
