//! Paging out another process: process_madvise(2).

use std::{fs, io, os::fd::AsRawFd};

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Range;

/// Has the kernel page out `range` of another process and returns how many bytes it took the advice for.
///
/// # Errors
/// If the process is gone, or the kernel refuses (CAP_SYS_NICE and ptrace rights are needed).
pub fn pageout(pid: u32, range: Range) -> Result<u64> {
    let raw = i32::try_from(pid).context("a pid")?;
    let pid = Pid::from_raw(raw).context("pid 0 is no process")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("pidfd_open {raw}"))?;
    let mut done = 0;
    // The kernel may stop early, at a page table it cannot lock for instance: go on from there.
    while done < range.length {
        let vector = libc::iovec {
            iov_base: usize::try_from(range.start + done)? as *mut libc::c_void,
            iov_len: usize::try_from(range.length - done)?,
        };
        // SAFETY: the vector lives until the call returns; the addresses in it are the other process's and
        // are never dereferenced here.
        let advised = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                pidfd.as_raw_fd(),
                &raw const vector,
                1usize,
                libc::MADV_PAGEOUT,
                0u32,
            )
        };
        let advised = u64::try_from(advised)
            .map_err(|_| io::Error::last_os_error())
            .with_context(|| format!("process_madvise {raw} {range}"))?;
        if advised == 0 {
            break;
        }
        done += advised;
    }
    Ok(done)
}

/// The private writable anonymous mappings of a process.
///
/// # Errors
/// If the process is gone.
pub fn anonymous_ranges(pid: u32) -> Result<Vec<Range>> {
    let path = format!("/proc/{pid}/maps");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    Ok(text.lines().filter_map(anonymous_range).collect())
}

/// `7f00-7f10 rw-p 00000000 00:00 0` without a file (inode 0), or the heap.
fn anonymous_range(line: &str) -> Option<Range> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let writable_private = words.next()?.starts_with("rw-p");
    let inode = words.nth(2)?;
    let special = words
        .next()
        .is_some_and(|name| name != "[heap]" && name != "[stack]");
    if !writable_private || inode != "0" || special {
        return None;
    }
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    Some(Range {
        start,
        length: end - start,
    })
}
