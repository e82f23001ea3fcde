//! The text of a cgroup v2 directory's memory files (kernel: Documentation/admin-guide/cgroup-v2.rst).

use std::fmt;

use crate::source::cgroupfs::{Number, RawLevel};

/// A limit in bytes, as `memory.max`, `memory.high` and `memory.swap.max` hold it.
///
/// Ordered by what it permits: any number of bytes is less than [`Limit::Max`]. In JSON a number, or
/// the string `"max"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// At most so many bytes. The kernel rounds down to whole pages.
    Bytes(u64),
    /// No limit: the file says `max`, systemd says `infinity`.
    Max,
}

impl Limit {
    /// The number of bytes; `None` if unlimited.
    pub const fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Max => None,
        }
    }

    /// The limit as the kernel stores it: whole pages, rounded down.
    #[must_use]
    pub const fn page_aligned(self, page_size: u64) -> Self {
        match self {
            Self::Bytes(bytes) if page_size > 1 => Self::Bytes(bytes - bytes % page_size),
            other => other,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Max => f.write_str("max"),
        }
    }
}

impl serde::Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(bytes) => serializer.serialize_u64(*bytes),
            Self::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes or \"max\"")
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Limit, E> {
                Ok(Limit::Bytes(bytes))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Limit, E> {
                if text == "max" {
                    Ok(Limit::Max)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Text that is not what the kernel's documentation promises for the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{expected} expected, found {found:?}", .file.map(|file| format!("{file}: ")).unwrap_or_default())]
pub struct CgroupFileError {
    /// The file, where several are read at once.
    pub file: Option<&'static str>,
    /// What should have been there.
    pub expected: &'static str,
    /// What was there, cut to its first 80 characters.
    pub found: String,
}

fn unexpected(expected: &'static str, found: &str) -> CgroupFileError {
    CgroupFileError {
        file: None,
        expected,
        found: found.chars().take(80).collect(),
    }
}

/// Reads a file that holds one number of bytes (`memory.current`, `memory.swap.current`).
///
/// # Errors
/// If the text is not one decimal number.
pub fn bytes(text: &str) -> Result<u64, CgroupFileError> {
    text.trim_end()
        .parse()
        .map_err(|_| unexpected("a number of bytes", text))
}

/// Reads a file that holds a limit or a protection (`memory.max`, `.high`, `.swap.max`, `.low`, `.min`).
///
/// # Errors
/// If the text is neither a decimal number nor `max`.
pub fn limit(text: &str) -> Result<Limit, CgroupFileError> {
    match text.trim_end() {
        "max" => Ok(Limit::Max),
        number => number
            .parse()
            .map(Limit::Bytes)
            .map_err(|_| unexpected("a number of bytes or \"max\"", text)),
    }
}

/// The memory state of one cgroup.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Level {
    /// Path from the root of the hierarchy, beginning with `/`.
    pub path: String,
    /// `memory.max`.
    pub max: Limit,
    /// `memory.high`.
    pub high: Limit,
    /// `memory.current`, bytes.
    pub current: u64,
    /// Swap accounting; `None` where the kernel has none (`swapaccount=0`, or built without swap).
    pub swap: Option<SwapLevel>,
}

/// The swap side of a [`Level`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SwapLevel {
    /// `memory.swap.max`.
    pub max: Limit,
    /// `memory.swap.current`, bytes.
    pub current: u64,
}

/// Understands the memory files of one cgroup.
///
/// # Errors
/// If one of them holds something else than it should; names the file.
pub fn level(raw: RawLevel) -> Result<Level, CgroupFileError> {
    let of = |file| {
        move |error| CgroupFileError {
            file: Some(file),
            ..error
        }
    };
    let limit_of = |file, text: &Number| limit(text.as_str()).map_err(of(file));
    let bytes_of = |file, text: &Number| bytes(text.as_str()).map_err(of(file));
    let swap = match &raw.swap {
        Some((max, current)) => Some(SwapLevel {
            max: limit_of("memory.swap.max", max)?,
            current: bytes_of("memory.swap.current", current)?,
        }),
        None => None,
    };
    Ok(Level {
        max: limit_of("memory.max", &raw.max)?,
        high: limit_of("memory.high", &raw.high)?,
        current: bytes_of("memory.current", &raw.current)?,
        swap,
        path: raw.path,
    })
}

/// The `key value` lines of a flat-keyed file (`memory.stat`, `memory.events`); malformed lines are skipped.
pub fn flat_keyed(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim_end().parse().ok()?))
    })
}

#[cfg(test)]
#[path = "cgroup_file_tests.rs"]
mod tests;
