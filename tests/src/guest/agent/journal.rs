//! The journal, by journalctl.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::shell;

/// A place in the journal of this boot: the monotonic time of an entry, microseconds.
///
/// Not journalctl's own cursor: with `--after-cursor` and matches, systemd 252 shows nothing when the entry at
/// the cursor does not match.
#[derive(Clone, Copy, Debug)]
pub struct Cursor(u64);

impl Cursor {
    /// Where the journal ends now.
    ///
    /// # Errors
    /// If journalctl fails or the journal is empty.
    pub fn now() -> Result<Self> {
        let last = shell::run("journalctl", &["-q", "-b", "-n", "1", "-o", "json"])?;
        Ok(Self(Entry::parse(&last)?.monotonic_us()?))
    }

    /// Entries after it that match journalctl's `matches` (`FIELD=value`, `-u`, …), the oldest first.
    ///
    /// # Errors
    /// If journalctl fails.
    pub fn entries(&self, matches: &[&str]) -> Result<Vec<Entry>> {
        let mut args = vec!["-q", "-b", "-o", "json"];
        args.extend(matches);
        let mut entries = Vec::new();
        for line in shell::run("journalctl", &args)?.lines() {
            let entry = Entry::parse(line)?;
            if entry.monotonic_us()? > self.0 {
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

/// One entry of the journal.
#[derive(Clone, Debug)]
pub struct Entry(Value);

impl Entry {
    fn parse(line: &str) -> Result<Self> {
        let entry = serde_json::from_str(line).with_context(|| format!("a journal entry: {line}"))?;
        Ok(Self(entry))
    }

    fn monotonic_us(&self) -> Result<u64> {
        let time = self
            .field("__MONOTONIC_TIMESTAMP")
            .context("a journal entry has no time")?;
        time.parse()
            .with_context(|| format!("time of a journal entry: {time}"))
    }

    /// A field's value; `None` if it is absent or not text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// The sentence.
    pub fn text(&self) -> &str {
        self.field("MESSAGE").unwrap_or_default()
    }

    /// Requires fields to have these values.
    ///
    /// # Errors
    /// The first that has another.
    pub fn require(&self, fields: &[(&str, &str)]) -> Result<()> {
        for (name, value) in fields {
            let found = self.field(name);
            ensure!(
                found == Some(value),
                "{name} is {found:?}, not {value:?}, in: {}",
                self.text()
            );
        }
        Ok(())
    }

    /// A field that holds a number.
    ///
    /// # Errors
    /// If it is absent or holds something else.
    pub fn number(&self, name: &str) -> Result<u64> {
        let text = self
            .field(name)
            .with_context(|| format!("no {name} in: {}", self.text()))?;
        text.parse().with_context(|| format!("{name}={text}"))
    }
}
