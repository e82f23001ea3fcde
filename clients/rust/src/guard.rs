//! `protect` and `advise_cold`: what keeps a buffer in RAM, and what gives one away.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    time::Duration,
};

use log::{info, warn};

use crate::{
    buffers::{Buffers, Region},
    maps,
    mm::{self, Cold, PAGE},
    pages::{PageRange, merged},
    process::{Process, process},
    tag::TagState,
};

/// Longest label, in bytes; the agent takes no longer one.
const LABEL_MAX: usize = 64;

/// Why something cannot be protected at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is no byte in it.
    #[error("{0:?}: the buffer is empty: there is nothing to protect")]
    Empty(String),
    /// The label is too long, empty or has control characters.
    #[error("label {0:?}: give 1 to {LABEL_MAX} printable bytes")]
    Label(String),
    /// It lies outside of any address space.
    #[error("{len} bytes at {address:#x} are not in any address space")]
    Address {
        /// Of the first byte.
        address: usize,
        /// Bytes.
        len: usize,
    },
}

/// What a guard has at the moment it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What alarms call this memory.
    pub label: String,
    /// Bytes of the buffers.
    pub bytes: usize,
    /// Pages that hold them, each counted once.
    pub pages: usize,
    /// Of those, how many are in RAM; `None` without /proc.
    pub resident_pages: Option<usize>,
    /// All pages are locked, and all are in RAM.
    pub locked: bool,
    /// All pages are registered with the agent, which raises an alarm if one is swapped.
    pub tagged: bool,
    /// Why something is not as asked for; empty if it is, or if the agent has not answered yet.
    pub refused: Vec<String>,
}

/// Keeps borrowed buffers protected until it is dropped.
#[must_use = "the protection ends when the guard is dropped"]
pub struct Guard<'a> {
    label: String,
    bytes: usize,
    ranges: Vec<PageRange>,
    process: &'static Process,
    lock: Result<(), String>,
    tags: Vec<u64>,
    buffer: PhantomData<&'a ()>,
}

/// Locks the pages of a buffer into RAM, brings them in, and registers them with the agent under `label`.
///
/// Pages that are shared with other memory are protected as a whole. A refused lock and a missing agent are no
/// errors: see [`Guard::status`].
///
/// # Errors
/// If the buffer has no bytes or the label is unusable.
pub fn protect<'a, B: Buffers + ?Sized>(buffer: &'a B, label: &str) -> Result<Guard<'a>, Unusable> {
    let mut regions = Vec::new();
    buffer.regions(&mut regions);
    Guard::new(&regions, label)
}

/// As [`protect`], for memory that no value of Rust stands for: a mapping, a C library's buffer.
///
/// It is the caller's business that the memory stays mapped. If it does not, nothing breaks: the locks go with the
/// mapping, and [`Guard::status`] says so.
///
/// # Errors
/// If there is no byte in it, it is in no address space, or the label is unusable.
pub fn protect_region(region: Region, label: &str) -> Result<Guard<'static>, Unusable> {
    Guard::new(&[region], label)
}

impl Guard<'_> {
    pub(crate) fn new(regions: &[Region], label: &str) -> Result<Guard<'static>, Unusable> {
        if label.is_empty() || label.len() > LABEL_MAX || label.chars().any(char::is_control) {
            return Err(Unusable::Label(label.to_owned()));
        }
        let ranges = pages(regions, PageRange::outwards)?;
        if ranges.is_empty() {
            return Err(Unusable::Empty(label.to_owned()));
        }
        let process = process();
        let lock = process.take(&ranges);
        if let Err(why) = &lock {
            warn!("{label:?} is not locked: {why}");
        }
        Ok(Guard {
            label: label.to_owned(),
            bytes: regions.iter().map(|region| region.len).sum(),
            tags: ranges
                .iter()
                .map(|range| process.agent.add(*range, label))
                .collect(),
            ranges,
            process,
            lock,
            buffer: PhantomData,
        })
    }

    /// What it has now. Residency is looked up in /proc, at some 30 ns per page.
    pub fn status(&self) -> Status {
        let pages = self.ranges.iter().map(|range| range.len()).sum::<usize>() / *PAGE;
        let residency: Option<Vec<(usize, usize)>> =
            self.ranges.iter().map(|range| mm::residency(*range)).collect();
        let resident = residency
            .as_ref()
            .map(|found| found.iter().map(|(present, _)| present).sum::<usize>());
        let private = residency.is_some_and(|found| found.iter().all(|(_, of_files)| *of_files == 0));
        let mut status = Status {
            label: self.label.clone(),
            bytes: self.bytes,
            pages,
            resident_pages: resident,
            locked: false,
            tagged: false,
            refused: Vec::new(),
        };
        if self.inherited() {
            let why = "forked: locks and registrations are the parent's; protect again in this process";
            status.refused.push(why.to_owned());
            return status;
        }
        match (&self.lock, resident) {
            (Err(why), _) => status.refused.push(format!("not locked: {why}")),
            (Ok(()), Some(present)) if present < pages => status.refused.push(format!(
                "not locked: {} of {pages} pages are not in RAM: they were unmapped, or unlocked by somebody else",
                pages - present
            )),
            (Ok(()), None) => {
                let why = "not known to be locked: /proc/self/pagemap cannot be read";
                status.refused.push(why.to_owned());
            }
            (Ok(()), Some(_)) => status.locked = true,
        }
        // Pages that are not in RAM do not tell, and the list of mappings can be long.
        if !private || resident.is_none_or(|resident| resident < pages) {
            status.refused.extend(self.unseen(pages));
        }
        let states = self.process.agent.states(&self.tags);
        status.tagged = states.iter().all(|state| *state == TagState::Tagged);
        let mut reasons: Vec<&String> = states.iter().filter_map(reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        let reasons = reasons.into_iter().map(|why| format!("not tagged: {why}"));
        status.refused.extend(reasons);
        status
    }

    /// What of it is shared memory, in words.
    fn unseen(&self, pages: usize) -> Option<String> {
        let (unseen, names) = maps::shared(&self.ranges);
        let names: Vec<String> = names.into_iter().collect();
        (unseen > 0).then(|| {
            format!(
                "not seen by the agent: {} of {pages} pages are shared memory ({}), which it cannot tell from anybody \
                 else's when it is swapped",
                unseen / *PAGE,
                names.join(", ")
            )
        })
    }

    /// Whether the agent has registered all pages, waiting up to `timeout` for its answer.
    pub fn wait_tagged(&self, timeout: Duration) -> bool {
        !self.inherited() && self.process.agent.wait(&self.tags, timeout)
    }

    /// Whether this is a forked child's copy of its parent's guard, which protects nothing in the child.
    pub fn inherited(&self) -> bool {
        !self.process.is_current()
    }

    /// The pages, in order, none twice.
    pub fn ranges(&self) -> &[PageRange] {
        &self.ranges
    }

    /// What alarms call this memory.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Ends the protection, as dropping it does. Pages that another guard protects as well stay locked.
    pub fn release(self) {}
}

fn reason(state: &TagState) -> Option<&String> {
    match state {
        TagState::Not(why) => Some(why),
        _ => None,
    }
}

fn pages(
    regions: &[Region],
    align: fn(usize, usize, usize) -> Option<PageRange>,
) -> Result<Vec<PageRange>, Unusable> {
    let aligned = regions.iter().filter(|region| region.len > 0).map(|region| {
        align(region.address, region.len, *PAGE).ok_or(Unusable::Address {
            address: region.address,
            len: region.len,
        })
    });
    Ok(merged(aligned.collect::<Result<_, _>>()?))
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // In a forked child there is nothing to undo, and the parent's locks must not be waited for.
        if self.inherited() {
            return;
        }
        self.process.agent.remove(&self.tags);
        if self.lock.is_ok() {
            self.process.give(&self.ranges);
        }
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("label", &self.label)
            .field("ranges", &self.ranges)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

/// Elements that are owned and protected: they can be read and written, but neither moved nor resized.
#[derive(Debug)]
pub struct Protected<T> {
    // Before the elements: dropped first, while they are still there.
    guard: Guard<'static>,
    elements: Box<[T]>,
}

impl<T: Copy> Protected<T> {
    /// Takes the elements and protects them; see [`protect`].
    ///
    /// # Errors
    /// As [`protect`].
    pub fn new(elements: impl Into<Box<[T]>>, label: &str) -> Result<Self, Unusable> {
        let elements = elements.into();
        let guard = protect_region(Region::of(&elements), label)?;
        Ok(Self { guard, elements })
    }

    /// What protects them.
    pub fn guard(&self) -> &Guard<'static> {
        &self.guard
    }

    /// Gives the elements back, unprotected.
    pub fn into_inner(self) -> Box<[T]> {
        self.elements
    }
}

impl<T> Deref for Protected<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements
    }
}

impl<T> DerefMut for Protected<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements
    }
}

/// Tells the kernel that a buffer is not needed soon; its content stays.
///
/// Only whole pages inside the buffer, and only those that no guard protects. Returns the bytes this was said for:
/// 0 for less than a page, and on kernels before 5.4.
pub fn advise_cold<B: Buffers + ?Sized>(buffer: &B, cold: Cold) -> usize {
    let mut regions = Vec::new();
    buffer.regions(&mut regions);
    let inside = pages(&regions, PageRange::inwards).unwrap_or_default();
    let done = std::cell::Cell::new(0);
    process().with_free(&inside, |part| match mm::advise(part, cold) {
        Ok(()) => done.set(done.get() + part.len()),
        // Too old a kernel, locked by somebody else, or huge pages of hugetlbfs.
        Err(error) => info!("advising {part}: {error}"),
    });
    done.get()
}

/// How much memory this process has locked by guards, in bytes, whole pages, each counted once.
pub fn protected_bytes() -> usize {
    process().covered()
}
