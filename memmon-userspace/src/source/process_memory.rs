//! Memory of another process: what of it is in swap, and getting it back into RAM.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::FileExt as _;

use super::process::{ProcessError, ProcessHandle};

const PAGE: u64 = 4096;
/// Entries of `/proc/PID/pagemap` that are read at a time.
const ENTRIES: u64 = 8192;

/// Consecutive pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// Address of the first byte.
    pub start: u64,
    /// How many pages.
    pub pages: u64,
}

/// The memory of a process that is held by a pidfd.
#[derive(Debug)]
pub struct ProcessMemory {
    handle: ProcessHandle,
    /// Stays with the address space that it was opened for: after an exec it has no pages any more.
    pagemap: File,
}

impl ProcessMemory {
    /// Opens the memory that the process has now.
    ///
    /// # Errors
    /// If it has ended or may not be looked at.
    pub fn open(handle: ProcessHandle) -> Result<Self, ProcessError> {
        let pid = handle.pid();
        let pagemap = File::open(format!("/proc/{pid}/pagemap"));
        if handle.is_gone() {
            return Err(ProcessError::Gone(pid));
        }
        let pagemap = pagemap.map_err(|source| ProcessError::Io {
            operation: "opening the pagemap of",
            pid,
            source,
        })?;
        Ok(Self { handle, pagemap })
    }

    /// `/proc/PID/maps`, as it is now.
    ///
    /// # Errors
    /// If it has ended, or cannot be read.
    pub fn maps(&self) -> Result<String, ProcessError> {
        let maps = std::fs::read(format!("/proc/{}/maps", self.handle.pid()))
            .map_err(|error| self.failed("reading the maps of", error))?;
        if self.handle.is_gone() {
            return Err(ProcessError::Gone(self.handle.pid()));
        }
        Ok(String::from_utf8_lossy(&maps).into_owned())
    }

    /// Entries of the pagemap for the pages from `start` on, a part of those asked for if there are many. Nothing
    /// if the memory is gone.
    ///
    /// # Errors
    /// If it has ended, or cannot be read.
    pub fn entries(&self, start: u64, pages: u64) -> Result<Vec<u8>, ProcessError> {
        let count = usize::try_from(pages.min(ENTRIES)).unwrap_or(0);
        let mut bytes = vec![0; count * 8];
        let read = self
            .pagemap
            .read_at(&mut bytes, start / PAGE * 8)
            .map_err(|error| self.failed("reading the pagemap of", error))?;
        bytes.truncate(read);
        if self.handle.is_gone() {
            return Err(ProcessError::Gone(self.handle.pid()));
        }
        Ok(bytes)
    }

    /// Has the kernel begin to read these pages from swap; they get into its swap cache. That some cannot be
    /// advised upon is no error: [`Self::touch`] does without.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn prefetch(&self, runs: &[PageRun]) -> Result<(), ProcessError> {
        for run in runs {
            let iov = libc::iovec {
                iov_base: run.start as *mut libc::c_void,
                iov_len: bytes(run.pages),
            };
            // SAFETY: the pidfd is open, `iov` is one valid iovec, and the addresses in it are the other process's:
            // nothing of ours is read or written through them.
            let advised = unsafe {
                libc::syscall(
                    libc::SYS_process_madvise,
                    self.handle.as_fd().as_raw_fd(),
                    &raw const iov,
                    1_usize,
                    libc::MADV_WILLNEED,
                    0_u32,
                )
            };
            if advised < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
                return Err(ProcessError::Gone(self.handle.pid()));
            }
        }
        Ok(())
    }

    /// Reads one byte of each page, which faults it into the process; returns how many pages could be read.
    ///
    /// # Errors
    /// If the process has ended or may not be read.
    pub fn touch(&self, run: PageRun) -> Result<u64, ProcessError> {
        /// As many as one call takes (IOV_MAX).
        const AT_ONCE: u64 = 1024;
        let mut read = 0;
        let mut at = 0;
        while at < run.pages {
            let count = (run.pages - at).min(AT_ONCE);
            // Another process may have the pid by now; then only a byte of it would be read, and thrown away.
            if self.handle.is_gone() {
                return Err(ProcessError::Gone(self.handle.pid()));
            }
            match self.read_bytes(run.start + at * PAGE, count) {
                // The first page of the rest is not mapped any more: past it.
                Ok(0) => at += 1,
                Ok(pages) => {
                    read += pages;
                    at += pages;
                }
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => at += 1,
                Err(error) => return Err(self.failed("reading the memory of", error)),
            }
        }
        Ok(read)
    }

    /// Reads the first byte of each of `count` pages; stops at the first that cannot be read.
    fn read_bytes(&self, start: u64, count: u64) -> io::Result<u64> {
        let mut bytes = vec![0_u8; usize::try_from(count).unwrap_or(0)];
        let local = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let remote: Vec<libc::iovec> = (0..count)
            .map(|page| libc::iovec {
                iov_base: (start + page * PAGE) as *mut libc::c_void,
                iov_len: 1,
            })
            .collect();
        let pid = libc::pid_t::try_from(self.handle.pid()).map_err(io::Error::other)?;
        // SAFETY: `local` is our buffer, which has room for one byte of each remote page and outlives the call;
        // the remote addresses are read in the other process.
        let read = unsafe {
            libc::process_vm_readv(
                pid,
                &raw const local,
                1,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        u64::try_from(read).map_err(|_| io::Error::last_os_error())
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> ProcessError {
        let pid = self.handle.pid();
        if self.handle.is_gone() || source.raw_os_error() == Some(libc::ESRCH) {
            return ProcessError::Gone(pid);
        }
        ProcessError::Io {
            operation,
            pid,
            source,
        }
    }
}

fn bytes(pages: u64) -> usize {
    usize::try_from(pages * PAGE).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn pages_are_touched_and_holes_are_passed_over() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("cat");
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", child.id())).expect("maps");
        // A child of ours: may be read without privilege. Its stack is mapped, with nothing below it.
        let stack = maps
            .lines()
            .find(|line| line.ends_with("[stack]"))
            .and_then(|line| line.split_once(' '))
            .and_then(|(range, _)| range.split_once('-'))
            .map(|(start, end)| [start, end].map(|text| u64::from_str_radix(text, 16).expect("hexadecimal")));
        let [start, end] = stack.expect("a stack");
        let memory =
            ProcessMemory::open(ProcessHandle::open(child.id()).expect("alive")).expect("its memory");
        let pages = (end - start) / PAGE;
        let run = PageRun { start, pages };
        assert_eq!(memory.touch(run).expect("readable"), pages);
        let beyond = PageRun { start: end, pages: 2 };
        assert_eq!(memory.touch(beyond).expect("a hole"), 0);
        memory.prefetch(&[run]).expect("alive");
        assert_eq!(
            memory.entries(start, pages).expect("readable").len() as u64,
            pages * 8
        );
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(matches!(memory.touch(run), Err(ProcessError::Gone(_))));
        assert!(matches!(memory.entries(start, pages), Err(ProcessError::Gone(_))));
    }
}
