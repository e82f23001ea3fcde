//! One file per family of hooks.

mod bench;
mod cgroup_life;
mod reclaim;
mod swap_in;
mod swap_out;
