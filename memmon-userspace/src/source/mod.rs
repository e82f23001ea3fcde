//! Where facts come from: the eBPF programs' maps and ring buffers, the cgroup tree, systemd, /proc.
//!
//! Everything but the programs takes the place it reads from as an argument, so that tests can build their
//! own host.

pub mod bpf_log;
pub mod cgroup_tree;
pub mod cgroupfs;
pub mod limit_events;
mod mapped;
mod mountinfo;
pub mod pages;
pub mod probes;
pub mod proc;
pub mod process;
pub mod process_memory;
pub mod psi;
pub mod ring;
pub mod systemd;
mod tag_slices;
mod unit_file;
