//! The web page: its files, a stream of what the agent knows, and stored history.
//!
//! It only reads. The agent is asked once per [`live::INTERVAL`] for all viewers together, and not at all while there
//! is none; a viewer that reads slowly skips what is overtaken. What it shows is open to every user of the host:
//! units, but no processes and no addresses.

mod archive;
mod assets;
mod guard;
mod headers;
mod live;
mod params;
mod routes;

pub use self::{
    archive::Archive,
    assets::Assets,
    guard::{Guard, Token, TokenError},
    live::{Ask, Live, VIEWERS},
    routes::{Web, routes},
};

use super::http::Limits;

/// What clients may use up where the page is served: a viewer's stream is one connection, and what a browser asks for
/// beside it goes over others.
pub fn limits() -> Limits {
    let without = Limits::default();
    Limits {
        connections: without.connections + 2 * VIEWERS,
        ..without
    }
}

#[cfg(test)]
mod tests;
