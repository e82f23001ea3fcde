//! What to do: a pure function from what is known to what should happen, with the reason in words.
//!
//! [`decide`] is `(Snapshot, Reaction, State, now) -> Decision`. A snapshot with an event is answered by
//! the reflex (a page of a critical unit went to swap); one without is a review of the unit's leases.
//! Nothing here reads a file, a clock or a bus; the stage `action` carries a decision out and leaves
//! nothing to its own choice.

mod bring_back;
mod decision;
pub mod forecast;
mod headroom;
mod host;
mod never;
mod reflex;
mod review;
mod situation;
mod snapshot;
mod strategies;
#[cfg(test)]
mod test_support;
mod time;
mod unit_section;

pub use bring_back::{pressed, room};
pub use decision::{Action, Alarm, AlarmKind, Decision, LeaseId, LimitChange, Planned, Property, Severity};
pub use headroom::{Binding, Headroom, Size};
pub use host::{Abilities, CgroupView, HostLease, HostSnapshot, Outlook, SwapUse, UnitView};
pub use never::never_touched;
pub use situation::{Situation, SituationState, situation};
pub use snapshot::{CriticalEvent, LeaseView, PressureSample, Region, Relation, Snapshot, State};
pub use strategies::{
    HostDecision, Rules, Strategy, StrategyAction, StrategyState, Target, Tried, strategies,
};
pub use time::MonoTime;
pub use unit_section::{UnitFacts, UnitSection, diff, unit_section};

use crate::config::Reaction;

/// Decides what to do about one unit.
pub fn decide(snapshot: &Snapshot, config: &Reaction, state: &State, now: MonoTime) -> Decision {
    match &snapshot.event {
        Some(event) => reflex::reflex(snapshot, event, config, state, now),
        None => review::review(snapshot, config, state, now),
    }
}
