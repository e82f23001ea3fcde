//! Cgroup ids to units: whose pages they were, and who pushed them out.
//!
//! * [`unit_name`] maps a cgroup path to the unit that owns it (pure).
//! * [`UnitIndex`] knows which cgroup id belongs to which unit, also for cgroups that are gone.
//! * [`Ledger`] sums the kernel's per-cgroup counters per unit, across restarts.
//! * [`Attributed`] is one swap-out with its names.
//! * [`tags::Tags`] are the regions that processes have declared critical.
//!
//! How the runtime drives them, all from the one task that owns the index:
//!
//! ```text
//! start:            token = index.scan_token(); scan = CgroupTree::scan(); index.apply_scan(token, &scan)
//! Event::Cgroup:    index.apply_life(&event); NeedsScan -> the same three calls again
//! cgroup ring drops grew: the same three calls again
//! Event::SwapOut:   attribute(&index, event, |owner| index.priority(&config, &owner.unit)) -> Attributed
//! snapshot:         if !ledger.unresolved(&snapshot, &index).is_empty() { scan once }
//!                   ledger.apply(&snapshot, &index); index.forget_released(|id| snapshot has id)
//! SystemdEvent:     Snapshot -> index.set_all_facts(&units); Unit(info) -> index.set_facts(&info.name, (&info).into());
//!                   Removed(name) -> index.clear_facts(&name)
//! ```

mod event;
mod facts;
mod index;
mod join;
mod labels;
mod ledger;
mod resolved;
mod stalls;
pub mod tags;
pub mod unit_name;

pub use event::{Attributed, AttributedReclaimer, attribute};
pub use facts::UnitFacts;
pub use index::UnitIndex;
pub use join::{PageJoin, Piece};
pub use labels::{LabelSet, OTHER};
pub use ledger::{BlameKey, IdLedger, Ledger, UNKNOWN_UNIT};
pub use resolved::{LifeUpdate, Resolved, ScanUpdate, UnitState};
pub use stalls::StallLedger;
pub use unit_name::{CgroupOwner, UnitKind};
