//! A limit above a unit pushes its pages out, however much RAM is free: those who share the limit give way.

use std::collections::BTreeMap;

use super::Rules;
use super::ledger::Ledger;
use super::reduce::{self, LEAST, Reach, THRASHING};
use crate::config::{OnCriticalSwap, Priority};
use crate::policy::MonoTime;
use crate::policy::headroom::{Binding, Headroom};
use crate::policy::host::{HostSnapshot, UnitView};

/// Too little room below a limit that units share.
#[derive(Debug)]
pub(super) struct Pressed<'a> {
    /// Of the units that lose pages for it, the one that lacks most.
    unit: &'a UnitView,
    /// The limit.
    binding: Binding,
    /// What is missing, bytes.
    need: u64,
}

/// The limits above units that have lost pages lately although these are to stay, and that still have too little room;
/// each once. A unit's own limit is its own matter.
pub(super) fn pressed<'a>(snapshot: &'a HostSnapshot, rules: &Rules<'_>, now: MonoTime) -> Vec<Pressed<'a>> {
    let mut all: BTreeMap<String, Pressed<'a>> = BTreeMap::new();
    if rules.reaction.on_critical_swap == OnCriticalSwap::AlarmOnly {
        return Vec::new();
    }
    let lately = |unit: &&UnitView| {
        unit.keeps_anon()
            && unit
                .last_critical
                .is_some_and(|last| now.since(last) < rules.reaction.hold)
    };
    for unit in snapshot.units.iter().filter(lately) {
        let headroom = Headroom::in_levels(&snapshot.levels(&unit.cgroup), &unit.below);
        if headroom.suffices() {
            continue;
        }
        let Some(binding) = headroom.binding else { continue };
        if !is_below(&unit.cgroup, &binding.cgroup) {
            continue;
        }
        let need = (headroom.needed - binding.left()).max(LEAST);
        let cgroup = binding.cgroup.clone();
        let one = Pressed { unit, binding, need };
        match all.get(&cgroup) {
            Some(most) if most.need >= need => {}
            _ => drop(all.insert(cgroup, one)),
        }
    }
    all.into_values().collect()
}

/// Makes room below such limits; `false` if there are none.
pub(super) fn below_limits(ledger: &mut Ledger<'_>) -> bool {
    let all = pressed(ledger.snapshot, ledger.rules, ledger.now);
    for Pressed { unit, binding, need } in &all {
        let why = format!("pages of {} go to swap for {binding}", unit.unit);
        let reach = Reach {
            up_to: Priority::Medium,
            anon: true,
            only_ask: false,
            pressure: THRASHING,
            below: Some(&binding.cgroup),
        };
        if reduce::take(ledger, *need, reach, &why) == *need {
            ledger.idle(format!(
                "{why}, and no low or medium unit below it can give anything now"
            ));
        }
    }
    !all.is_empty()
}

/// The cgroup at `path` is somewhere below the one at `above`.
pub(super) fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}
