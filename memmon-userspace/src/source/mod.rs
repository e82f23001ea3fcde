//! Where facts come from: the eBPF programs' maps and ring buffers, the cgroup tree, systemd, /proc.

pub mod probes;
pub mod ring;
