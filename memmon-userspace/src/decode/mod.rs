//! Bytes from the kernel to typed events. Pure: no I/O, no clock.

mod event;

pub use event::{
    CgroupChange, CgroupLife, DecodeError, Event, ReclaimKind, Reclaimer, StallKind, SwapOut, decode,
};
