//! Which part of the table of tagged ranges belongs to whom. Pure: time is an argument.

use std::collections::{BTreeMap, VecDeque};

/// Free and resting slices of a table.
#[derive(Debug)]
pub(super) struct Slices {
    /// Free slices, first index to length; neighbours are always merged.
    free: BTreeMap<u32, u32>,
    /// Slices out of use that a program may still be reading: free from (time, ns) on, first index, length.
    resting: VecDeque<(u64, u32, u32)>,
    rest_ns: u64,
}

impl Slices {
    /// A table of `entries`, all free. A slice given back rests for `rest_ns` before it is handed out again.
    pub(super) fn new(entries: u32, rest_ns: u64) -> Self {
        Self {
            free: BTreeMap::from([(0, entries)]),
            resting: VecDeque::new(),
            rest_ns,
        }
    }

    /// Takes a slice of `length` entries; its first index, or `None` if no free slice is as long.
    pub(super) fn take(&mut self, length: u32, now_ns: u64) -> Option<u32> {
        self.wake(now_ns);
        if length == 0 {
            return Some(0);
        }
        let (&first, &found) = self
            .free
            .iter()
            .filter(|&(_, &found)| found >= length)
            .min_by_key(|&(_, &found)| found)?;
        self.free.remove(&first);
        if found > length {
            self.free.insert(first + length, found - length);
        }
        Some(first)
    }

    /// Gives a slice back.
    pub(super) fn give(&mut self, first: u32, length: u32, now_ns: u64) {
        if length > 0 {
            self.resting.push_back((now_ns + self.rest_ns, first, length));
        }
    }

    /// Entries that are free now, resting ones included: they will be.
    pub(super) fn free(&self) -> u32 {
        self.free.values().sum::<u32>() + self.resting.iter().map(|&(_, _, length)| length).sum::<u32>()
    }

    /// Entries that could be handed out now.
    pub(super) fn available(&mut self, now_ns: u64) -> u32 {
        self.wake(now_ns);
        self.free.values().sum()
    }

    fn wake(&mut self, now_ns: u64) {
        while let Some((_, first, length)) = self.resting.pop_front_if(|&mut (at, _, _)| at <= now_ns) {
            self.merge(first, length);
        }
    }

    fn merge(&mut self, mut first: u32, mut length: u32) {
        if let Some(after) = self.free.remove(&(first + length)) {
            length += after;
        }
        if let Some((&before, &before_length)) = self.free.range(..first).next_back()
            && before + before_length == first
        {
            self.free.remove(&before);
            first = before;
            length += before_length;
        }
        self.free.insert(first, length);
    }
}

#[cfg(test)]
#[path = "tag_slices_tests.rs"]
mod tests;
