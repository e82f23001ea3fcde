//! Bytes from the kernel to typed events. Pure: no I/O, no clock.

mod event;
mod host;
mod timestamp;

pub use event::{
    CgroupChange, CgroupLife, DecodeError, Event, ReclaimKind, Reclaimer, StallKind, SwapOut, decode,
};
pub use host::{MemInfo, MissingField, Pressure, PressureLine, VmStat};
pub use timestamp::rfc3339;
