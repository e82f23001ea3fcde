//! Values that a forked child must not share with its parent: a thread that the child does not have may have held
//! their locks.

use std::{
    fmt,
    marker::PhantomData,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use rustix::process::{Pid, getpid};

/// A value of this process. A forked child finds a new one in its place, and never touches its parent's, not even to
/// free it.
pub(crate) struct PerProcess<T> {
    current: AtomicPtr<Entry<T>>,
    /// As a box would: the pointer alone would be `Sync` with anything behind it.
    owns: PhantomData<Box<Entry<T>>>,
}

struct Entry<T> {
    pid: Pid,
    value: T,
}

impl<T> PerProcess<T> {
    /// Makes its value when first asked for it.
    pub(crate) const fn new() -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            owns: PhantomData,
        }
    }
}

impl<T: Default> PerProcess<T> {
    /// That of this process.
    pub(crate) fn get(&self) -> &T {
        let pid = getpid();
        let mut seen = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: what this points to, if anything, was leaked below, is never mutably borrowed, and is freed by
            // drop alone, which nobody calls who has a reference.
            if let Some(entry) = unsafe { seen.as_ref() }
                && entry.pid == pid
            {
                return &entry.value;
            }
            let value = T::default();
            let new = Box::into_raw(Box::new(Entry { pid, value }));
            match self
                .current
                .compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire)
            {
                // SAFETY: it has just been leaked; and as above.
                Ok(_) => return unsafe { &(*new).value },
                Err(other) => {
                    // SAFETY: made by Box::into_raw above, and nobody else has seen it.
                    drop(unsafe { Box::from_raw(new) });
                    seen = other;
                }
            }
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let entry = *self.current.get_mut();
        // SAFETY: as in get.
        if unsafe { entry.as_ref() }.is_some_and(|entry| entry.pid == getpid()) {
            // SAFETY: made by Box::into_raw, and what is borrowed from it is borrowed from self.
            drop(unsafe { Box::from_raw(entry) });
        }
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerProcess").finish_non_exhaustive()
    }
}
