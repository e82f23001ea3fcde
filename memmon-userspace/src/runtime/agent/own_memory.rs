//! The agent must not become a victim of what it watches.

use std::fs;

use rustix::mm::{Advice, MlockAllFlags, madvise, mlockall};

const OOM_SCORE_ADJ: i32 = -900;

/// Locks the agent's memory and asks the OOM killer to look elsewhere. What is not permitted is told and left.
pub(super) fn protect() {
    // Reading the kernel's BTF took tens of megabytes, which malloc would keep and we would lock.
    // SAFETY: no argument but how much to leave at the top of the heap.
    unsafe { libc::malloc_trim(0) };
    // Code that the reaction needs must not have to be read from disk then; of the rest, what is touched.
    populate_files();
    if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        tracing::warn!(
            "the agent's memory is not locked: {error}; run it with CAP_IPC_LOCK or a sufficient LimitMEMLOCK="
        );
    }
    let path = "/proc/self/oom_score_adj";
    let current = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if current.is_none_or(|current| current > OOM_SCORE_ADJ)
        && let Err(error) = fs::write(path, OOM_SCORE_ADJ.to_string())
    {
        tracing::warn!(
            "{path} is not {OOM_SCORE_ADJ}: {error}; set OOMScoreAdjust= in the unit or give CAP_SYS_RESOURCE"
        );
    }
}

/// Reads in every file that is mapped: the program and its libraries. Kernels before 5.14 cannot, and then
/// only what has run already is in memory.
fn populate_files() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else {
        return;
    };
    for (start, end) in maps.lines().filter_map(file_mapping) {
        // SAFETY: populating for reading changes nothing but what is resident.
        let populated = unsafe { madvise(start as *mut _, end - start, Advice::LinuxPopulateRead) };
        if let Err(error) = populated {
            tracing::debug!("reading in the mapping at {start:#x}: {error}");
        }
    }
}

/// Start and end of a mapping of a file, from a line of `/proc/PID/maps` (proc(5)).
fn file_mapping(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let path = fields.nth(4)?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    path.starts_with('/').then_some((address(start)?, address(end)?))
}

#[cfg(test)]
mod tests {
    use super::file_mapping;

    #[test]
    fn only_files_are_read_in() {
        let line =
            "7f55d3423000-7f55d3579000 r-xp 00026000 fe:00 326279                     /usr/lib/libc.so.6";
        assert_eq!(file_mapping(line), Some((0x7f55_d342_3000, 0x7f55_d357_9000)));
        assert_eq!(
            file_mapping("555b9297f000-555b936fe000 rw-p 00000000 00:00 0      [heap]"),
            None
        );
        assert_eq!(
            file_mapping("7f55d3278000-7f55d3379000 rw-p 00000000 00:00 0"),
            None
        );
        assert_eq!(
            file_mapping("7f55d3278000-7f55d3379000 r--s 00001000 00:10 1038   anon_inode:bpf-map"),
            None
        );
    }
}
