//! Critical units are protected before a page of theirs goes to swap.

use super::ledger::Ledger;
use super::{StrategyAction, grants, reduce};
use crate::config::OnCriticalSwap;
use crate::decode::{Limit, ReclaimKind};
use crate::policy::headroom::{Headroom, HostRoom, Size};
use crate::policy::host::UnitView;
use crate::policy::{Action, CriticalEvent, Property, Relation, Situation, reflex};

/// From `ram_high` they are spared from reclaim, from `ram_critical` their swap is stopped where that is safe.
pub(super) fn critical_units(ledger: &mut Ledger<'_>, ram: Situation) {
    if ledger.rules.reaction.on_critical_swap == OnCriticalSwap::AlarmOnly {
        if ledger.critical().next().is_some() {
            ledger.idle("critical units are not protected: on_critical_swap is alarm-only".to_owned());
        }
        return;
    }
    if ram == Situation::Critical {
        match elsewhere(ledger) {
            Ok(()) => ledger.critical().for_each(|unit| stop_swap(ledger, unit)),
            Err(why) => ledger.idle(why),
        }
    }
    grants::memory_low(ledger);
}

/// If the swap of all critical units is stopped, the host must find what it lacks elsewhere, or somebody is
/// OOM-killed who would have lived: what the other units can give, and the cache of all, must cover it.
fn elsewhere(ledger: &Ledger<'_>) -> Result<(), String> {
    let gives = ledger.elsewhere();
    let needed = reduce::above_critical(ledger).max(HostRoom::needed(ledger.snapshot.host.total));
    if gives >= needed || ledger.critical().next().is_none() {
        return Ok(());
    }
    Err(format!(
        "swap of critical units stays allowed: the host needs {} and everybody else can give {}, so without it somebody \
         would be OOM-killed",
        Size(needed),
        Size(gives)
    ))
}

/// The reflex's own rule, asked as if kswapd were about to take the unit's first page, which at this point is
/// only a matter of time.
fn stop_swap(ledger: &mut Ledger<'_>, unit: &UnitView) {
    if ledger.snapshot.swap.is_none() {
        return;
    }
    if ledger.lease(&unit.cgroup, Property::MemorySwapMax) == Some(false) {
        let reason = format!("MemorySwapMax of {} was changed after memmon: kept", unit.unit);
        return ledger.idle(reason);
    }
    let (mut snapshot, state) = ledger.unit_snapshot(unit);
    let stopped = |max: Limit| max == Limit::Bytes(0);
    let chain = &snapshot.chain;
    if ledger.lease(&unit.cgroup, Property::MemorySwapMax).is_some()
        || chain
            .iter()
            .any(|level| level.swap.is_some_and(|swap| stopped(swap.max)))
    {
        return;
    }
    let event = CriticalEvent {
        pages: 0,
        kind: ReclaimKind::Kswapd,
        relation: Relation::Unknown,
        reclaimer: None,
        comm: "kswapd0".to_owned(),
        region: None,
    };
    snapshot.event = Some(event.clone());
    let decision = reflex::reflex(&snapshot, &event, ledger.rules.reaction, &state, ledger.now);
    for planned in decision.actions {
        match planned.action {
            Action::Protect(change) => {
                let reason = format!(
                    "RAM is critical, so the swap of {} is stopped before more of it goes there; {}",
                    unit.unit,
                    reflex::room(&Headroom::of(&snapshot))
                );
                ledger.change(StrategyAction::Protect, &unit.unit, &unit.cgroup, change, reason);
            }
            Action::Freeze(change) => {
                ledger.change(
                    StrategyAction::Freeze,
                    &unit.unit,
                    &unit.cgroup,
                    change,
                    planned.reason,
                );
            }
            Action::RaiseHigh(change) => {
                ledger.change(
                    StrategyAction::RaiseHigh,
                    &unit.unit,
                    &unit.cgroup,
                    change,
                    planned.reason,
                );
            }
            Action::None => ledger.advise(
                StrategyAction::LockRequest,
                Some(unit),
                format!(
                    "{}; the unit can lock its most important memory itself (mlock)",
                    planned.reason
                ),
            ),
            Action::Revert { .. } | Action::Keep { .. } => {}
        }
    }
}
