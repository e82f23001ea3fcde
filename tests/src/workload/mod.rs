//! `memmon-workload`: memory of a known kind and content, that is paged out, touched and checked on demand.

pub mod advise;
pub mod control;
pub mod mapping;
pub mod tag;

use std::{fmt, num::ParseIntError, str::FromStr};

use clap::ValueEnum;

/// What kind of memory to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Private anonymous, small pages only.
    Anon,
    /// Private anonymous, huge pages if the kernel has them.
    Thp,
    /// Shared anonymous (shmem).
    Shmem,
    /// A memfd, mapped shared.
    Memfd,
}

/// What to write into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fill {
    /// Different, incompressible content in every page.
    Random,
    /// Zeros, written one by one so that the pages exist.
    Zero,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anon => "anon",
            Self::Thp => "thp",
            Self::Shmem => "shmem",
            Self::Memfd => "memfd",
        })
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random",
            Self::Zero => "zero",
        })
    }
}

/// Addresses of a process: written `START+LENGTH`, both hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// How many bytes.
    pub length: u64,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}+{:x}", self.start, self.length)
    }
}

/// Why a text is not a range.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// No plus sign.
    #[error("a range is written START+LENGTH")]
    Form,
    /// Not hexadecimal.
    #[error("a range is written in hexadecimal digits: {0}")]
    Number(#[from] ParseIntError),
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (start, length) = text.split_once('+').ok_or(RangeError::Form)?;
        Ok(Self {
            start: u64::from_str_radix(start, 16)?,
            length: u64::from_str_radix(length, 16)?,
        })
    }
}

#[cfg(test)]
mod tests;
