//! Stage `source`.

pub mod cgroupfs;
