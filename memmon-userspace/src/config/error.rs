//! What can be wrong with a configuration, and where.

use std::{fmt, io, ops::Range, path::PathBuf, sync::Arc};

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, or the name of the built-in defaults.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Location {
    /// The place of byte `offset` of `text`.
    pub(super) fn of(file: &Arc<str>, text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |newline| newline + 1);
        Self {
            file: Arc::clone(file),
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            // Lossy: the offset may be in the middle of what is not UTF-8.
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing wrong with the configuration. The text says where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory could not be read.
    #[error("{}: reading the configuration: {source}: make it readable, or remove it", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML, or not UTF-8.
    #[error("{at}: not valid TOML: {problem}")]
    Syntax {
        /// Where.
        at: Location,
        /// What the parser says.
        problem: String,
    },
    /// A key that does not exist.
    #[error("{at}: {key}: unknown key: {remedy}")]
    UnknownKey {
        /// Where.
        at: Location,
        /// `[table] key`.
        key: KeyName,
        /// What to do.
        remedy: String,
    },
    /// A value that a key cannot have.
    #[error("{at}: {key}: value {value} {problem}")]
    Value {
        /// Where.
        at: Location,
        /// `[table] key`.
        key: KeyName,
        /// The value as the file has it.
        value: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

impl ConfigError {
    /// The place in the file; `None` if the file could not be read.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Read { .. } => None,
            Self::Syntax { at, .. } | Self::UnknownKey { at, .. } | Self::Value { at, .. } => Some(at),
        }
    }

    /// Whether a value of `table` was rejected, so that comparing its values means nothing.
    pub(super) fn spoils(&self, table: &str) -> bool {
        match self {
            Self::Read { .. } | Self::Syntax { .. } => true,
            Self::UnknownKey { key, .. } | Self::Value { key, .. } => key.table == table,
        }
    }
}

/// A key, displayed as `[table] key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName {
    /// The table; empty for a key of the document itself.
    pub table: String,
    /// The key; empty if the table itself is meant.
    pub key: String,
}

impl KeyName {
    pub(super) fn new(table: &str, key: &str) -> Self {
        Self {
            table: table.to_owned(),
            key: key.to_owned(),
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.table.as_str(), self.key.as_str()) {
            ("", key) => f.write_str(key),
            (table, "") => write!(f, "[{table}]"),
            (table, key) => write!(f, "[{table}] {key}"),
        }
    }
}

/// Everything wrong with the configuration, one per line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// The text of a file, to find places and quote values in.
pub(super) struct Source<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn at(&self, span: &Range<usize>) -> Location {
        Location::of(self.file, self.text, span.start)
    }

    /// The first line of what the file has there, cut to a readable length.
    pub(super) fn quote(&self, span: &Range<usize>) -> String {
        const LONGEST: usize = 60;
        let whole = self.text.get(span.clone()).unwrap_or_default();
        let line = whole.lines().next().unwrap_or_default();
        let cut: String = line.chars().take(LONGEST).collect();
        if cut.len() < whole.len() {
            format!("{cut}…")
        } else {
            cut
        }
    }
}
