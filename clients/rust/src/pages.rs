//! Who holds which page: `mlock` does not nest, and buffers share pages.
//!
//! Pure: knows nothing of system calls.

use std::{collections::BTreeMap, fmt};

/// Whole pages: the address of the first byte, and of the byte after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageRange {
    /// Address of the first byte.
    pub start: usize,
    /// Address of the byte after the last.
    pub end: usize,
}

impl PageRange {
    /// Bytes.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is no page in it.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// All pages that hold a byte of `len` bytes at `address`; `None` if those lie beyond the address space.
    pub(crate) fn outwards(address: usize, len: usize, page: usize) -> Option<Self> {
        Some(Self {
            start: address / page * page,
            end: address.checked_add(len)?.checked_next_multiple_of(page)?,
        })
    }

    /// The pages that hold nothing else than `len` bytes at `address`; may be empty.
    pub(crate) fn inwards(address: usize, len: usize, page: usize) -> Option<Self> {
        let start = address.checked_next_multiple_of(page)?;
        let end = address.checked_add(len)? / page * page;
        Some(Self {
            start,
            end: end.max(start),
        })
    }
}

impl fmt::Display for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start, self.end)
    }
}

/// The same pages, each once, in as few ranges as possible.
pub(crate) fn merged(mut ranges: Vec<PageRange>) -> Vec<PageRange> {
    ranges.sort_unstable();
    let mut result: Vec<PageRange> = Vec::new();
    for range in ranges {
        append(&mut result, range);
    }
    result
}

/// Puts a range behind others that start before it.
fn append(result: &mut Vec<PageRange>, range: PageRange) {
    match result.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
        _ => result.push(range),
    }
}

/// A counter for every page, kept as a few ranges of equal count: a gigabyte is one range.
#[derive(Debug, Default)]
pub(crate) struct PageCounts {
    /// From an address up to the next key: how often held. Neighbours differ, and the last is 0.
    from: BTreeMap<usize, u32>,
    covered: usize,
}

/// A page was released that nobody held: a mistake in this crate.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} was released without being held")]
pub(crate) struct NotHeld(PageRange);

impl PageCounts {
    /// Bytes that somebody holds.
    pub(crate) fn covered(&self) -> usize {
        self.covered
    }

    /// Counts every page once more; returns those nobody held before.
    pub(crate) fn acquire(&mut self, pages: PageRange) -> Vec<PageRange> {
        let mut new = Vec::new();
        for (part, count) in self.parts(pages) {
            if count == 0 {
                append(&mut new, part);
                self.covered += part.len();
            }
            self.from.insert(part.start, count + 1);
        }
        self.tidy(pages);
        new
    }

    /// Counts every page once less; returns those that nobody holds any more.
    ///
    /// # Errors
    /// If a page was not held. Nothing is changed then.
    pub(crate) fn release(&mut self, pages: PageRange) -> Result<Vec<PageRange>, NotHeld> {
        let parts = self.parts(pages);
        if parts.iter().any(|(_, count)| *count == 0) {
            self.tidy(pages);
            return Err(NotHeld(pages));
        }
        let mut gone = Vec::new();
        for (part, count) in parts {
            if count == 1 {
                append(&mut gone, part);
                self.covered -= part.len();
            }
            self.from.insert(part.start, count - 1);
        }
        self.tidy(pages);
        Ok(gone)
    }

    /// The parts of `pages` that nobody holds.
    pub(crate) fn free(&mut self, pages: PageRange) -> Vec<PageRange> {
        let mut free = Vec::new();
        for (part, count) in self.parts(pages) {
            if count == 0 {
                append(&mut free, part);
            }
        }
        self.tidy(pages);
        free
    }

    /// Makes both ends of `pages` keys, and returns what is between them with its counts.
    fn parts(&mut self, pages: PageRange) -> Vec<(PageRange, u32)> {
        if pages.is_empty() {
            return Vec::new();
        }
        for edge in [pages.start, pages.end] {
            let count = self.count_at(edge);
            self.from.insert(edge, count);
        }
        let inside: Vec<(usize, u32)> = self
            .from
            .range(pages.start..pages.end)
            .map(|(start, count)| (*start, *count))
            .collect();
        let ends = inside.iter().skip(1).map(|(start, _)| *start).chain([pages.end]);
        inside
            .iter()
            .zip(ends)
            .map(|((start, count), end)| (PageRange { start: *start, end }, *count))
            .collect()
    }

    fn count_at(&self, address: usize) -> u32 {
        self.from
            .range(..=address)
            .next_back()
            .map_or(0, |(_, count)| *count)
    }

    /// Removes the two edges where they separate nothing. Inside, neighbours differ as before.
    fn tidy(&mut self, pages: PageRange) {
        for edge in [pages.start, pages.end] {
            let before = self.from.range(..edge).next_back().map_or(0, |(_, count)| *count);
            if self.from.get(&edge) == Some(&before) {
                self.from.remove(&edge);
            }
        }
    }
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
