//! When all is well again, leases end.

use super::ledger::Ledger;
use super::{Strategy, StrategyAction, Target};
use crate::policy::{Action, Property, review};

/// What the review of each unit would revert. The review itself runs on its own time; this shows it in the report.
pub(super) fn expired(ledger: &mut Ledger<'_>) {
    for unit in &ledger.snapshot.units {
        if !ledger.snapshot.leases.iter().any(|held| held.unit == unit.unit) {
            continue;
        }
        let (snapshot, state) = ledger.unit_snapshot(unit);
        let decision = review::review(&snapshot, ledger.rules.reaction, &state, ledger.now);
        for planned in decision.actions {
            if let Action::Revert { lease } = planned.action {
                let reason = planned.reason;
                ledger.plan(StrategyAction::Revert, unit, None, Target::Lease(lease), reason);
            }
        }
    }
    // Slices are no units of the snapshot; only their protection is ever on a lease.
    for held in &ledger.snapshot.leases {
        let is_unit = ledger.snapshot.units.iter().any(|unit| unit.unit == held.unit);
        if !is_unit && held.lease.property == Property::MemoryLow && held.lease.deadline <= ledger.now {
            ledger.push(Strategy {
                action: StrategyAction::Revert,
                unit: Some(held.unit.clone()),
                cgroup: Some((held.cgroup.clone(), held.lease.cgroup_id)),
                amount: None,
                target: Target::Lease(held.lease.id),
                reason: "the situation is normal again".to_owned(),
            });
        }
    }
}
