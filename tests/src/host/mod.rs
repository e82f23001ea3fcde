//! Borrowing this machine: every change is taken back when its guard is dropped.

pub mod cgroup;
pub mod interrupt;
pub mod setting;
pub mod wait;
pub mod zram;
