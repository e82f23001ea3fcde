//! Alarms delivered directly, for hosts that no Prometheus watches: to Alertmanager, to a webhook, to a program.
//!
//! [`Board`] is what there is to tell, [`Delivery`] decides per target what to send when (pure, no clock of its own),
//! [`deliver`] sends. Nothing piles up: what is kept is one entry per alarm, and the number of alarms is bounded.

mod board;
mod delivery;
mod document;
mod exec;
mod kept;
mod post;
mod send;

pub use self::{
    board::{Alert, Board},
    delivery::{Delivery, Note, Step, Told},
    kept::{KeptError, keep, left_on},
    send::{Sender, deliver},
};

#[cfg(test)]
mod tests;
