//! The last cycles, protected.

use std::{collections::VecDeque, num::NonZeroUsize};

use crate::{
    guard::{Protected, Unusable, advise_cold},
    mm::Cold,
};

/// Keeps what was pushed last protected, and hands older things back.
///
/// Pages that older and newer cycles share stay locked until the last of them falls out.
#[derive(Debug)]
pub struct History<T> {
    most: NonZeroUsize,
    label: String,
    cold: bool,
    kept: VecDeque<Protected<T>>,
}

impl<T: Copy> History<T> {
    /// Keeps the last `most` cycles under `label`.
    pub fn new(most: NonZeroUsize, label: &str) -> Self {
        Self {
            most,
            label: label.to_owned(),
            cold: false,
            kept: VecDeque::new(),
        }
    }

    /// Has what falls out become the first to be reclaimed, for callers who keep it elsewhere.
    #[must_use]
    pub fn cold(mut self) -> Self {
        self.cold = true;
        self
    }

    /// Protects a cycle; returns the oldest, unprotected, if there are now more than the history keeps.
    ///
    /// # Errors
    /// If the cycle has no bytes, or the history's label is unusable.
    pub fn push(&mut self, cycle: impl Into<Box<[T]>>) -> Result<Option<Box<[T]>>, Unusable> {
        self.kept.push_back(Protected::new(cycle, &self.label)?);
        if self.kept.len() <= self.most.get() {
            return Ok(None);
        }
        let oldest = self.kept.pop_front().map(Protected::into_inner);
        if let Some(oldest) = oldest.as_ref().filter(|_| self.cold) {
            advise_cold(oldest, Cold::First);
        }
        Ok(oldest)
    }

    /// Those in force, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Protected<T>> {
        self.kept.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Lets all of them go.
    pub fn clear(&mut self) {
        self.kept.clear();
    }
}
