//! Where facts come from: the eBPF programs' maps and ring buffers, the cgroup tree, systemd, /proc.

pub mod probes;
pub mod ring;
//! What the agent reads from the host besides the eBPF programs: the cgroup tree, `/proc`, and systemd.
//!
//! Everything takes the place it reads from as an argument, so that tests can build their own host.

pub mod cgroup_tree;
mod mountinfo;
pub mod proc;
