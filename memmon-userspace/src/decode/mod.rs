//! Bytes from the kernel to typed events. Pure: no I/O, no clock.

pub mod cgroup_file;
mod event;
mod host;
mod maps;
mod page;
pub mod pagemap;
pub mod process;
mod swaps;
mod timestamp;

pub use cgroup_file::{Level, Limit, SwapLevel};
pub use event::{
    CgroupChange, CgroupLife, DecodeError, Event, ReclaimKind, Reclaimer, StallKind, SwapOut, decode,
};
pub use host::{MemInfo, MissingField, Pressure, PressureLine, VmStat};
pub use maps::{Mappings, start_ticks};
pub use page::{PageEvent, PageOut, ProcessId, decode_page};
pub use swaps::{MemoryStat, SwapAreas, zswapped};
pub use timestamp::rfc3339;
