//! The wire contract between memmon's eBPF programs and its agent.
//!
//! Everything here is `repr(C)`, has a size and alignment checked at compile time, and contains no
//! padding the compiler could leave uninitialised. Integers only: enumerations travel as `u32` and
//! are decoded with `TryFrom`, so that an unknown value is an error and never undefined behaviour.
#![no_std]

pub mod event;
pub mod names;
pub mod offsets;
pub mod page;
pub mod pod;
