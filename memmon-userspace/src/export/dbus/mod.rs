//! The service `org.omnimind.memmon1` on the system bus.
//!
//! It owns nothing: what it is asked for it passes on to the tasks that own it ([`Doors`]), and what they have to
//! tell ([`Signal`]) it sends out. All channels are bounded, the number of calls in progress is as well ([`gate`]),
//! and it is meant to run on a thread of its own: whatever clients do, the reaction to a page does not wait.
//!
//! Who calls is what the bus says ([`caller`]): facts about units are open to all, process ids to root and the
//! processes' own user, changes to root, tags to the process itself.

mod caller;
mod client;
mod doors;
mod gate;
mod heard;
mod manager;
mod serve;
mod signal;

pub use caller::{Found, Process};
pub use client::{Client, ClientError};
pub use doors::{Doors, DumpRequest, Order, Refused, ReportRequest, TagRequest, Tagging};
pub use heard::Heard;
pub use serve::serve;
pub use signal::{Details, OutlookDetails, Signal};

/// Well-known name on the bus.
pub const NAME: &str = "org.omnimind.memmon1";
/// The one object.
pub const PATH: &str = "/org/omnimind/memmon1";

#[cfg(test)]
mod tests;
