//! Bytes from the kernel to typed events. Pure: no I/O, no clock.

pub mod cgroup_file;
mod event;
mod host;
pub mod process;
mod timestamp;

pub use cgroup_file::{Level, Limit, SwapLevel};
pub use event::{
    CgroupChange, CgroupLife, DecodeError, Event, ReclaimKind, Reclaimer, StallKind, SwapOut, decode,
};
pub use host::{MemInfo, MissingField, Pressure, PressureLine, VmStat};
pub use timestamp::rfc3339;
