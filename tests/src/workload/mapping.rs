//! The memory itself.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    ptr::{self, NonNull},
    slice,
};

use anyhow::{Context, Result};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    mm::{self, Advice, MapFlags, MremapFlags, ProtFlags},
};

use super::{Fill, Kind, Range};

/// Bytes per page.
pub const PAGE: usize = 4096;
/// Bytes per huge page, and the alignment one needs.
const HUGE: usize = 2 << 20;

/// Has the kernel find so much memory at once, faster than writing it would, and gives it back.
///
/// # Errors
/// If the kernel refuses.
pub fn seize(mib: u64) -> Result<()> {
    let length = usize::try_from(mib << 20).context("more memory than there are addresses")?;
    let flags = MapFlags::PRIVATE | MapFlags::LOCKED | MapFlags::POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice, which nothing refers to when it goes.
    unsafe {
        let start = mm::mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags)
            .with_context(|| format!("mapping {mib} MiB of locked memory"))?;
        mm::munmap(start, length).context("unmapping it")
    }
}

/// A filled mapping.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
    fill: Fill,
}

impl Mapping {
    /// Maps `mib` MiB and fills every page.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new(mib: u64, kind: Kind, fill: Fill) -> Result<Self> {
        let length = usize::try_from(mib << 20).context("more memory than there are addresses")?;
        let start = map(length, kind).with_context(|| format!("mapping {mib} MiB of {kind}"))?;
        let mut mapping = Self { start, length, fill };
        let advice = match kind {
            Kind::Thp => Advice::LinuxHugepage,
            _ => Advice::LinuxNoHugepage,
        };
        mapping.advise(advice)?;
        mapping.write();
        Ok(mapping)
    }

    /// Where it is.
    pub fn range(&self) -> Range {
        Range {
            start: self.start.as_ptr().addr() as u64,
            length: self.length as u64,
        }
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and `length` describe a mapping this value owns, readable and written by it only.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// All bytes, to change them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// Writes every page's content (again).
    pub fn write(&mut self) {
        let pages = self.length / PAGE;
        self.write_first(pages);
    }

    /// Writes the content of the first `pages` pages (again).
    pub fn write_first(&mut self, pages: usize) {
        let fill = self.fill;
        for (number, page) in self.bytes_mut().chunks_exact_mut(PAGE).take(pages).enumerate() {
            let (words, _) = page.as_chunks_mut::<8>();
            for (word, value) in words.iter_mut().zip(content(fill, number)) {
                *word = value.to_ne_bytes();
            }
        }
    }

    /// Reads one byte per page and returns how many pages that were.
    pub fn touch(&self) -> usize {
        for byte in self.bytes().iter().step_by(PAGE) {
            // SAFETY: the pointer comes from a reference. Volatile, or the optimiser would leave the read out.
            unsafe { ptr::read_volatile(byte) };
        }
        self.length / PAGE
    }

    /// Compares every page with what was written; the number of pages, or of the first that differs.
    pub fn verify(&self) -> Result<usize, usize> {
        for (number, page) in self.bytes().chunks_exact(PAGE).enumerate() {
            let (words, _) = page.as_chunks::<8>();
            let intact = words
                .iter()
                .zip(content(self.fill, number))
                .all(|(word, value)| u64::from_ne_bytes(*word) == value);
            if !intact {
                return Err(number);
            }
        }
        Ok(self.length / PAGE)
    }

    /// Asks the kernel to page it out.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn pageout(&self) -> Result<()> {
        self.advise(Advice::LinuxPageOut)
    }

    /// Moves it to other addresses (mremap).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn relocate(&mut self) -> Result<()> {
        let target = reserve(self.length).context("reserving addresses")?;
        // SAFETY: the old range is this mapping, the new one was reserved just now for it alone, and `start`,
        // the only pointer to the old range, is replaced before anything can use it.
        let moved = unsafe {
            mm::mremap_fixed(
                self.start.as_ptr().cast(),
                self.length,
                self.length,
                MremapFlags::MAYMOVE,
                target.as_ptr().cast(),
            )
        };
        let moved = moved.context("mremap")?;
        self.start = NonNull::new(moved.cast()).context("mremap returned null")?;
        Ok(())
    }

    fn advise(&self, advice: Advice) -> Result<()> {
        // SAFETY: none of the advices used here changes what the memory contains.
        let advised = unsafe { mm::madvise(self.start.as_ptr().cast(), self.length, advice) };
        advised.with_context(|| format!("madvise {advice:?}"))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value and no borrow of it is left.
        let unmapped = unsafe { mm::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "unmapping one's own mapping: {unmapped:?}");
    }
}

fn map(length: usize, kind: Kind) -> io::Result<NonNull<u8>> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let mapped = match kind {
        Kind::Thp => return map_aligned(length, access),
        Kind::Memfd => {
            let file = File::from(memfd_create("memmon-workload", MemfdFlags::CLOEXEC)?);
            file.set_len(length as u64)?;
            // SAFETY: the address is left to the kernel, so nothing existing is replaced.
            unsafe { mm::mmap(ptr::null_mut(), length, access, MapFlags::SHARED, file.as_fd(), 0) }
        }
        Kind::Anon | Kind::Shmem => {
            let sharing = if kind == Kind::Anon {
                MapFlags::PRIVATE
            } else {
                MapFlags::SHARED
            };
            // SAFETY: the address is left to the kernel, so nothing existing is replaced.
            unsafe { mm::mmap_anonymous(ptr::null_mut(), length, access, sharing) }
        }
    };
    NonNull::new(mapped?.cast()).ok_or(io::ErrorKind::OutOfMemory.into())
}

/// A mapping that starts where a huge page can.
fn map_aligned(length: usize, access: ProtFlags) -> io::Result<NonNull<u8>> {
    let reserved = reserve(length + HUGE)?;
    let skipped = reserved.as_ptr().align_offset(HUGE);
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: the range lies within the reservation made just now, which nothing else knows of; what remains
    // of it around the mapping stays reserved and unused.
    let mapped = unsafe { mm::mmap_anonymous(reserved.as_ptr().add(skipped).cast(), length, access, flags) };
    NonNull::new(mapped?.cast()).ok_or(io::ErrorKind::OutOfMemory.into())
}

/// Addresses nobody else gets, without memory behind them.
fn reserve(length: usize) -> io::Result<NonNull<u8>> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: the address is left to the kernel, so nothing existing is replaced.
    let reserved = unsafe { mm::mmap_anonymous(ptr::null_mut(), length, ProtFlags::empty(), flags) };
    NonNull::new(reserved?.cast()).ok_or(io::ErrorKind::OutOfMemory.into())
}

/// The words of a page: xorshift64 seeded by the page's number, so that every page can be checked by itself.
fn content(fill: Fill, page: usize) -> impl Iterator<Item = u64> {
    let mut state = (page as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::iter::repeat_with(move || {
        if fill == Fill::Zero {
            return 0;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}
