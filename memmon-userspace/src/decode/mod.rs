//! Bytes from the kernel to typed events. Pure: no I/O, no clock.

pub mod cgroup_file;
mod event;

pub use cgroup_file::{HostMemory, Level, Limit, Pressure, PressureLine, SwapLevel};
pub use event::{
    CgroupChange, CgroupLife, DecodeError, Event, ReclaimKind, Reclaimer, StallKind, SwapOut, decode,
};
