//! One file per family of hooks.

mod bench;
mod cgroup_life;
mod page_owner;
mod page_walk;
mod reclaim;
mod swap_in;
mod swap_out;
mod tags;
