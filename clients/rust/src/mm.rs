//! The system calls, and what /proc says about this process's pages.

use std::{fs::File, io, os::unix::fs::FileExt, sync::LazyLock};

use rustix::{
    mm::{self, Advice},
    process::{Resource, getrlimit},
};

use crate::pages::PageRange;

/// Bytes per page.
pub(crate) static PAGE: LazyLock<usize> = LazyLock::new(rustix::param::page_size);
/// Bit 63 of a pagemap entry: the page is in RAM and mapped (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
/// Bit 61: it is a file's or shared memory.
const OF_FILE: u64 = 1 << 61;
/// Entries read at a time.
const CHUNK: usize = 8192;

/// Locks pages and faults them in; see mlock(2). Locks do not nest.
///
/// # Errors
/// Those of mlock(2).
pub(crate) fn mlock(pages: PageRange) -> rustix::io::Result<()> {
    // SAFETY: mlock reads and writes nothing by itself. Faulting a page in changes no byte of it, and an address
    // that is not mapped is an error.
    unsafe { mm::mlock(pages.start as *mut _, pages.len()) }
}

/// Unlocks pages; see munlock(2).
///
/// # Errors
/// Those of munlock(2): `ENOMEM` where nothing is mapped any more.
pub(crate) fn munlock(pages: PageRange) -> rustix::io::Result<()> {
    // SAFETY: munlock neither reads nor writes memory; an address that is not mapped is an error.
    unsafe { mm::munlock(pages.start as *mut _, pages.len()) }
}

/// How far away a page may be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cold {
    /// First to be reclaimed under pressure (`MADV_COLD`).
    First,
    /// Reclaimed at once, to swap or its file (`MADV_PAGEOUT`).
    Now,
}

/// See madvise(2). The content stays in either case.
///
/// # Errors
/// Those of madvise(2): `EINVAL` before Linux 5.4, or for locked or hugetlb pages.
pub(crate) fn advise(pages: PageRange, cold: Cold) -> rustix::io::Result<()> {
    let advice = match cold {
        Cold::First => Advice::LinuxCold,
        Cold::Now => Advice::LinuxPageOut,
    };
    // SAFETY: both kinds of advice keep the content; neither unmaps, and an address that is not mapped is an error.
    unsafe { mm::madvise(pages.start as *mut _, pages.len(), advice) }
}

/// How many of these pages are in RAM and mapped, so that touching them does not fault; `None` where /proc does
/// not tell.
pub(crate) fn resident(pages: PageRange) -> Option<usize> {
    residency(pages).map(|(present, _)| present)
}

/// As [`resident`]; and how many of the pages are shared memory or a file's, as far as they are in RAM.
pub(crate) fn residency(pages: PageRange) -> Option<(usize, usize)> {
    count(pages).ok()
}

fn count(pages: PageRange) -> io::Result<(usize, usize)> {
    let file = File::open("/proc/self/pagemap")?;
    let (mut page, end) = (pages.start / *PAGE, pages.end / *PAGE);
    let mut buffer = vec![0; 8 * CHUNK.min(end - page)];
    let (mut present, mut of_files) = (0, 0);
    while page < end {
        let wanted = 8 * CHUNK.min(end - page);
        file.read_exact_at(&mut buffer[..wanted], page as u64 * 8)?;
        let (entries, _) = buffer[..wanted].as_chunks::<8>();
        let with = |bit| {
            let set = entries
                .iter()
                .filter(|entry| u64::from_ne_bytes(**entry) & bit != 0);
            set.count()
        };
        present += with(PRESENT);
        of_files += with(OF_FILE);
        page += wanted / 8;
    }
    Ok((present, of_files))
}

/// `VmLck` of this process in bytes, 0 where /proc does not tell.
pub(crate) fn locked_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// `RLIMIT_MEMLOCK` in bytes (soft), `None` for unlimited.
pub(crate) fn lock_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// Has the C library give free memory back to the kernel, where it can.
pub(crate) fn malloc_trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes for people: `4 KiB`, `1.5 GiB`.
pub(crate) fn human(count: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| count >= 1 << shift) else {
        return format!("{count} B");
    };
    // In tenths, so that no float is needed.
    let tenths = (u128::from(count) * 10) >> shift;
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}
