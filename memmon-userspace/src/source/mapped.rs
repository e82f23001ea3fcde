//! The memory of an array map, shared with the programs: no system call for each entry.

use std::{
    io,
    os::fd::AsFd as _,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::Map;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An array map made with `BPF_F_MMAPABLE`, as words.
pub(super) struct MappedArray {
    base: NonNull<AtomicU64>,
    words: u32,
    /// Keeps the map's file descriptor.
    _map: Map,
}

impl MappedArray {
    /// Maps the first `words` words.
    ///
    /// # Errors
    /// If it is no array, or the kernel refuses: the map was made without the flag, or is smaller.
    pub(super) fn new(map: Map, words: u32) -> io::Result<Self> {
        let Map::Array(data) = &map else {
            return Err(io::Error::other("it is no array"));
        };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so nothing existing is replaced.
        let base = unsafe {
            mmap(
                ptr::null_mut(),
                bytes(words),
                access,
                MapFlags::SHARED,
                data.fd().as_fd(),
                0,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self {
            base,
            words,
            _map: map,
        })
    }

    /// Sets a word: a program sees the old or the new one, and with the new one everything set before.
    ///
    /// # Panics
    /// If the array has no such word.
    pub(super) fn set(&mut self, index: u32, value: u64) {
        assert!(index < self.words, "word {index} of {}", self.words);
        // SAFETY: within the mapping, which lives as long as this, is page-aligned, and is only ever accessed
        // atomically from here.
        let word = unsafe { self.base.add(index as usize).as_ref() };
        word.store(value, Ordering::Release);
    }
}

const fn bytes(words: u32) -> usize {
    words as usize * size_of::<AtomicU64>()
}

// SAFETY: the mapping belongs to this value alone, and every access to it is atomic.
unsafe impl Send for MappedArray {}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nobody else knows the address.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), bytes(self.words)) };
        debug_assert!(unmapped.is_ok(), "unmapping one's own mapping: {unmapped:?}");
    }
}
