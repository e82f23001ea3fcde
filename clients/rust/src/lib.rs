//! Keeps the memory a service calls critical out of swap, and says what it got.
//!
//! ```
//! let embeddings = vec![0.5f32; 384];
//! let guard = memmon_client::protect(&embeddings, "embeddings")?;
//! println!("{:?}", guard.status());
//! # Ok::<(), memmon_client::Unusable>(())
//! ```
//!
//! A guard locks the pages that hold a buffer, brings them into RAM, and registers them with the memmon agent, which
//! acts if one of them is swapped all the same. Neither a refused lock nor a missing agent is an error:
//! [`Guard::status`] says what was had and why not more.
//!
//! - Locks are counted per page, because `mlock` does not nest and neighbouring buffers share pages. Memory that the
//!   process locks by other means (`mlockall`) is unlocked with a guard on it.
//! - One thread talks to the agent, through restarts of agent and bus; nobody waits for it but
//!   [`Guard::wait_tagged`].
//! - A forked child has no locks and no registrations; its copies of guards do nothing, and it may make its own.

#[cfg(feature = "dbus")]
mod agent;
#[cfg(not(feature = "dbus"))]
#[path = "no_agent.rs"]
mod agent;
mod buffers;
mod cgroup;
mod fork;
mod guard;
mod history;
mod in_use;
mod maps;
mod mm;
mod pages;
mod pressure;
mod process;
mod release;
mod tag;

pub use self::{
    agent::use_bus,
    buffers::{Buffers, Region},
    guard::{Guard, Protected, Status, Unusable, advise_cold, protect, protect_region, protected_bytes},
    history::History,
    in_use::{InUse, Use},
    mm::Cold,
    pages::PageRange,
    release::{ReleaseHook, on_release, release_memory, watch_pressure},
};
