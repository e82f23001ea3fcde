//! Swap is high: critical units come back from it.

use super::ledger::Ledger;
use super::reduce::{self, Reach};
use super::{StrategyAction, Target};
use crate::config::{OnCriticalSwap, Priority};
use crate::decode::Limit;
use crate::policy::headroom::{Headroom, Size};
use crate::policy::host::UnitView;
use crate::policy::{LimitChange, Property, Situation, reflex};

/// Reading back less is not worth a step, bytes.
const LEAST: u64 = 1 << 20;

/// Freezes each critical unit that is in swap, makes room for it, and reads it back as far as there is room.
pub(super) fn critical_units(ledger: &mut Ledger<'_>, ram: Situation) {
    if ledger.rules.reaction.on_critical_swap == OnCriticalSwap::AlarmOnly {
        return;
    }
    let swapped = |unit: &UnitView| {
        let cgroup = ledger.snapshot.cgroups.get(&unit.cgroup);
        cgroup
            .and_then(|cgroup| cgroup.swap)
            .map_or(0, |swap| swap.current)
    };
    let mut units: Vec<(&UnitView, u64)> = ledger
        .critical()
        .map(|unit| (unit, swapped(unit)))
        .filter(|(_, bytes)| *bytes >= LEAST)
        .collect();
    units.sort_by_key(|(unit, bytes)| (std::cmp::Reverse(*bytes), unit.unit.as_str()));
    if units.is_empty() {
        return ledger.idle("swap is high, but no critical unit is in it".to_owned());
    }
    let mut room = room(ledger);
    let mut missing = 0;
    for (unit, bytes) in units {
        missing += one(ledger, unit, bytes, ram, &mut room);
    }
    if missing >= LEAST && ram < Situation::Critical {
        let why = format!(
            "{} of critical memory are in swap and lack room in RAM",
            Size(missing)
        );
        let reach = Reach {
            up_to: Priority::Low,
            anon: false,
            only_ask: false,
            pressure: 100.0,
            below: None,
        };
        reduce::take(ledger, missing, reach, &why);
    }
}

/// What may be read back without making the RAM situation high, bytes.
fn room(ledger: &Ledger<'_>) -> u64 {
    let host = &ledger.snapshot.host;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of RAM, positive and far below 2^53"
    )]
    let kept = (host.total as f64 * (1.0 - ledger.rules.thresholds.ram_high)) as u64;
    host.available.saturating_sub(kept)
}

/// Plans for one unit; returns the bytes that stay in swap for want of room on the host.
fn one(ledger: &mut Ledger<'_>, unit: &UnitView, swapped: u64, ram: Situation, room: &mut u64) -> u64 {
    let (snapshot, state) = ledger.unit_snapshot(unit);
    let headroom = Headroom::of(&snapshot);
    if headroom.suffices() {
        freeze(ledger, unit, swapped);
    }
    let mut left = headroom
        .binding
        .as_ref()
        .map_or(u64::MAX, |binding| binding.left());
    if left < swapped.saturating_add(headroom.needed) {
        let deadline = ledger.now.after(ledger.rules.reaction.hold);
        match reflex::raise_high(&snapshot, &headroom, &state, deadline) {
            Ok((change, reason)) => {
                let raised = change.new.bytes().unwrap_or(u64::MAX);
                let max = snapshot
                    .chain
                    .iter()
                    .filter_map(|level| level.max.bytes().map(|max| max.saturating_sub(level.current)));
                let current = snapshot.chain.first().map_or(0, |level| level.current);
                left = max.min().unwrap_or(u64::MAX).min(raised.saturating_sub(current));
                ledger.change(
                    StrategyAction::RaiseHigh,
                    &unit.unit,
                    &unit.cgroup,
                    change,
                    reason,
                );
            }
            Err(because) => {
                if let Some(binding) = &headroom.binding {
                    let because = if because.is_empty() {
                        String::new()
                    } else {
                        format!("; {because}")
                    };
                    ledger.idle(format!(
                        "{} can only come back as far as its limits leave room: {binding}{because}",
                        unit.unit
                    ));
                }
            }
        }
    }
    if ram == Situation::Critical {
        ledger.idle(format!(
            "{} of {} stay in swap until RAM is no longer critical",
            Size(swapped),
            unit.unit
        ));
        return 0;
    }
    let within = left.saturating_sub(headroom.needed).min(swapped);
    let amount = within.min(*room) / 4096 * 4096;
    if amount >= LEAST {
        *room -= amount;
        let reason = format!(
            "{} is critical and has {} in swap; its limits and the host leave room for {} before RAM use is high",
            unit.unit,
            Size(swapped),
            Size(amount)
        );
        let ready = ledger.readiness(&unit.unit, StrategyAction::BringBack);
        if ready == super::state::Readiness::Ready {
            ledger.plan(
                StrategyAction::BringBack,
                unit,
                Some(amount),
                Target::Processes,
                reason,
            );
        }
    }
    within.saturating_sub(amount)
}

/// No more may follow while the rest comes back.
fn freeze(ledger: &mut Ledger<'_>, unit: &UnitView, swapped: u64) {
    let Some(swap) = ledger
        .snapshot
        .cgroups
        .get(&unit.cgroup)
        .and_then(|cgroup| cgroup.swap)
    else {
        return;
    };
    let new = Limit::Bytes(swapped);
    let leased = ledger.lease(&unit.cgroup, Property::MemorySwapMax).is_some();
    if leased
        || swap.max <= new
        || !unit.below_complete
        || ledger.planned(&unit.cgroup, Property::MemorySwapMax)
    {
        return;
    }
    let change = LimitChange {
        property: Property::MemorySwapMax,
        old: swap.max,
        new,
        deadline: ledger.now.after(ledger.rules.reaction.hold),
    };
    let reason = format!(
        "swap is high: {} of {} are in it, no more may follow",
        Size(swapped),
        unit.unit
    );
    ledger.change(StrategyAction::Freeze, &unit.unit, &unit.cgroup, change, reason);
}
