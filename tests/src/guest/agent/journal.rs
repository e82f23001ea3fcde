//! The journal, by journalctl.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::shell;

/// A place in the journal.
#[derive(Clone, Debug)]
pub struct Cursor(String);

impl Cursor {
    /// Where the journal ends now.
    ///
    /// # Errors
    /// If journalctl fails or the journal is empty.
    pub fn now() -> Result<Self> {
        let last = shell::run("journalctl", &["-q", "-b", "-n", "1", "-o", "json"])?;
        let last = Entry::parse(&last)?;
        let cursor = last.field("__CURSOR").context("a journal entry has no cursor")?;
        Ok(Self(cursor.to_owned()))
    }

    /// Entries after it that match journalctl's `matches` (`FIELD=value`, `-u`, …), the oldest first.
    ///
    /// # Errors
    /// If journalctl fails.
    pub fn entries(&self, matches: &[&str]) -> Result<Vec<Entry>> {
        let after = format!("--after-cursor={}", self.0);
        let mut args = vec!["-q", "-o", "json", &after];
        args.extend(matches);
        let shown = shell::run("journalctl", &args)?;
        shown.lines().map(Entry::parse).collect()
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
