//! What the kernel tells about loaded programs, from their `fdinfo`.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya::Ebpf;

/// The copy of the swap-out program that the kernel calls first.
const FIRST_COPY: &str = "swap_out";

/// Statistics of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramStats {
    /// Name in the object.
    pub name: String,
    /// Time spent in it, nanoseconds; grows only while `kernel.bpf_stats_enabled` is on.
    pub run_time_ns: u64,
    /// Runs; likewise.
    pub run_count: u64,
    /// Events it missed because it was already running on that CPU: what they carried is lost.
    pub recursion_misses: u64,
    /// Instructions the verifier walked through at load: what it pruned does not count.
    pub verified_instructions: u64,
    /// Size after the verifier removed dead code and the JIT compiled it is not told; this is the kernel
    /// memory of the translated program, bytes.
    pub memlock: u64,
}

/// The loaded programs, for a thread that does not own them.
#[derive(Debug)]
pub struct Programs(Vec<(String, OwnedFd)>);

impl Programs {
    /// Every loaded program, by name. One whose descriptor cannot be had is absent.
    pub fn of(ebpf: &Ebpf) -> Self {
        let mut all: Vec<(String, OwnedFd)> = ebpf
            .programs()
            .filter_map(|(name, program)| {
                let fd = program.fd().ok()?.as_fd().try_clone_to_owned().ok()?;
                Some((name.to_owned(), fd))
            })
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self(all)
    }

    /// Their statistics as they are now.
    pub fn stats(&self) -> Vec<ProgramStats> {
        self.0.iter().filter_map(|(name, fd)| read(name, fd)).collect()
    }

    /// Times that the kernel skipped the first copy of the swap-out program; see
    /// [`crate::source::probes::Totals::missed_events`].
    pub fn swap_outs_skipped(&self) -> u64 {
        self.stats_of(FIRST_COPY)
            .map_or(0, |stats| stats.recursion_misses)
    }

    fn stats_of(&self, wanted: &str) -> Option<ProgramStats> {
        let (name, fd) = self.0.iter().find(|(name, _)| name == wanted)?;
        read(name, fd)
    }
}

/// Statistics of every loaded program. Programs that were not loaded are absent.
pub fn stats(ebpf: &Ebpf) -> Vec<ProgramStats> {
    Programs::of(ebpf).stats()
}

fn read(name: &str, fd: &OwnedFd) -> Option<ProgramStats> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    Some(parse(name, &text))
}

fn parse(name: &str, fdinfo: &str) -> ProgramStats {
    let field = |key: &str| {
        fdinfo
            .lines()
            .find_map(|line| {
                line.split_once(':')
                    .filter(|(k, _)| *k == key)?
                    .1
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0)
    };
    ProgramStats {
        name: name.to_owned(),
        run_time_ns: field("run_time_ns"),
        run_count: field("run_cnt"),
        recursion_misses: field("recursion_misses"),
        verified_instructions: field("verified_insns"),
        memlock: field("memlock"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ProgramStats, parse};

    #[test]
    fn fdinfo_is_read_and_absent_lines_are_zero() {
        let text = "pos:\t0\nprog_type:\t26\nmemlock:\t8192\nrun_time_ns:\t1200\nrun_cnt:\t10\nrecursion_misses:\t3\n";
        let expected = ProgramStats {
            name: "swap_out".to_owned(),
            run_time_ns: 1200,
            run_count: 10,
            recursion_misses: 3,
            verified_instructions: 0,
            memlock: 8192,
        };
        assert_eq!(parse("swap_out", text), expected);
    }
}
