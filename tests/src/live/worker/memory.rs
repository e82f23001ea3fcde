//! Mapped memory that can be filled and pushed out.

use std::{fs::File, os::fd::OwnedFd, os::unix::fs::FileExt as _, ptr};

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap},
    process::{Pid, PidfdFlags, pidfd_open},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// [`super::PAGE`] as a length.
const PAGE: usize = 4096;
const HUGE_PAGE: usize = 2 << 20;
/// `/proc/PID/pagemap`: the page is in swap.
const PAGEMAP_SWAPPED: u64 = 1 << 62;

/// What a region is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Private anonymous memory in small pages.
    Anon,
    /// Private anonymous memory in 2 MiB pages where the kernel finds them.
    Huge,
    /// Shared memory of a memfd.
    Memfd,
}

impl Kind {
    pub(super) fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "anon" => Self::Anon,
            "huge" => Self::Huge,
            "memfd" => Self::Memfd,
            _ => bail!("no kind of memory is called {word}"),
        })
    }
}

/// A mapping of this process.
pub(super) struct Region {
    /// What `munmap` needs: alignment may have cost some at either end.
    mapped: (*mut u8, usize),
    start: *mut u8,
    len: usize,
    /// Keeps the pages of a memfd alive.
    _memfd: Option<OwnedFd>,
}

impl Region {
    pub(super) fn map(kind: Kind, len: usize) -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let (size, memfd) = match kind {
            Kind::Anon => (len, None),
            Kind::Huge => (len + HUGE_PAGE, None),
            Kind::Memfd => {
                let fd = memfd_create("memmon-workload", MemfdFlags::CLOEXEC).context("memfd_create")?;
                ftruncate(&fd, len as u64).context("ftruncate")?;
                (len, Some(fd))
            }
        };
        // SAFETY: new mappings at addresses that the kernel chooses.
        let base = unsafe {
            match &memfd {
                Some(fd) => mmap(ptr::null_mut(), size, protection, MapFlags::SHARED, fd, 0),
                None => mmap_anonymous(ptr::null_mut(), size, protection, MapFlags::PRIVATE),
            }
        }
        .with_context(|| format!("mapping {size} bytes"))?
        .cast::<u8>();
        let start = if kind == Kind::Huge {
            base.wrapping_add(base.align_offset(HUGE_PAGE))
        } else {
            base
        };
        let region = Self {
            mapped: (base, size),
            start,
            len,
            _memfd: memfd,
        };
        match kind {
            Kind::Huge => region.advise(Advice::LinuxHugepage)?,
            // Whatever the host's setting: these cases count small pages. Refused without THP: then they are small.
            Kind::Anon => region.advise(Advice::LinuxNoHugepage).unwrap_or_default(),
            Kind::Memfd => {}
        }
        Ok(region)
    }

    pub(super) fn address(&self) -> usize {
        self.start as usize
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    fn pages(&self) -> impl Iterator<Item = *mut u64> {
        (0..self.len)
            .step_by(PAGE)
            .map(|offset| self.start.wrapping_add(offset).cast())
    }

    fn advise(&self, advice: Advice) -> Result<()> {
        // SAFETY: none of the advices used here changes what the memory holds.
        unsafe { madvise(self.start.cast(), self.len, advice) }.with_context(|| format!("madvise {advice:?}"))
    }

    /// Writes a cache line of noise into every page: no two are alike and none is zero.
    pub(super) fn fill(&self, random: &mut u64) {
        for page in self.pages() {
            for word in 0..8 {
                *random ^= *random << 13;
                *random ^= *random >> 7;
                *random ^= *random << 17;
                // SAFETY: within the mapping; nobody holds a reference into it.
                unsafe { page.add(word).write_volatile(*random | 1) };
            }
        }
    }

    pub(super) fn zero(&self) {
        for page in self.pages() {
            // SAFETY: as in `fill`.
            unsafe { page.write_volatile(0) };
        }
    }

    pub(super) fn touch(&self) {
        for page in self.pages() {
            // SAFETY: as in `fill`.
            unsafe { page.read_volatile() };
        }
    }

    pub(super) fn page_out(&self) -> Result<()> {
        self.advise(Advice::LinuxPageOut)
    }

    /// Gives the pages back, those in swap too; the next write finds new ones.
    pub(super) fn forget(&self) -> Result<()> {
        // SAFETY: nobody holds a reference into the mapping, and `fill` writes before anybody reads.
        unsafe { madvise(self.start.cast(), self.len, Advice::LinuxDontNeed) }.context("madvise DontNeed")
    }

    /// As [`Self::page_out`], from every CPU in turn: a page just touched waits on the list of the CPU that
    /// touched it, and only that CPU's advice brings it where it can be found.
    pub(super) fn page_out_everywhere(&self) -> Result<()> {
        let all = sched_getaffinity(None).context("sched_getaffinity")?;
        let each = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let done = each.map(|cpu| {
            let mut one = CpuSet::new();
            one.set(cpu);
            sched_setaffinity(None, &one).context("sched_setaffinity")?;
            self.page_out()
        });
        let done = done.collect();
        sched_setaffinity(None, &all).context("sched_setaffinity")?;
        done
    }

    /// Pages of the region that are in swap now.
    pub(super) fn swapped(&self) -> Result<u64> {
        let mut entries = vec![0; self.len / PAGE * 8];
        let first = self.address() / PAGE * 8;
        File::open("/proc/self/pagemap")
            .and_then(|file| file.read_exact_at(&mut entries, first as u64))
            .context("reading /proc/self/pagemap")?;
        let swapped = entries
            .as_chunks::<8>()
            .0
            .iter()
            .filter(|entry| u64::from_ne_bytes(**entry) & PAGEMAP_SWAPPED != 0);
        Ok(swapped.count() as u64)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by us; nobody else knows the address.
        let _ = unsafe { munmap(self.mapped.0.cast(), self.mapped.1) };
    }
}

/// `process_madvise(MADV_PAGEOUT)`; returns the bytes advised.
pub(super) fn page_out_of(pid: u32, address: usize, len: usize) -> Result<u64> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("no pid")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let range = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: len,
    };
    // rustix has no such call.
    // SAFETY: the range is the other process's memory, and the advice does not change what it holds.
    let advised = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            std::os::fd::AsRawFd::as_raw_fd(&process),
            &raw const range,
            1usize,
            libc::MADV_PAGEOUT,
            0u32,
        )
    };
    u64::try_from(advised)
        .map_err(|_| std::io::Error::last_os_error())
        .context("process_madvise")
}
