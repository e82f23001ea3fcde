//! The screen without a terminal.

mod behaviour;
mod rig;
mod screens;
