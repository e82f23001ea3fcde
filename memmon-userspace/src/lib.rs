//! memmon: keeps memory that somebody declared critical out of swap.
//!
//! The modules are the stages of one pipeline, from a kernel event to what people see; each imports
//! only stages to its left, and [`runtime`] alone wires them (`cargo xtask check` enforces it):
//! `kernel`, `source` → `decode` → `attribute` → `policy` → `action` → `record` → `export`.

pub mod action;
pub mod attribute;
pub mod cli;
pub mod config;
pub mod decode;
pub mod export;
pub mod kernel;
pub mod policy;
pub mod record;
pub mod runtime;
pub mod source;

#[cfg(test)]
mod testing;
