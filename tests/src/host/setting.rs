//! Kernel settings that are put back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A file under `/proc/sys` or `/sys` that holds another value while this lives.
#[derive(Debug)]
pub struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    /// Writes `value`.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn set(path: impl AsRef<Path>, value: &str) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let before = chosen(&text).to_owned();
        fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))?;
        Ok(Self { path, before })
    }
}

/// `[a] b c` offers three values, of which `a` is set.
fn chosen(text: &str) -> &str {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(text.trim(), |(chosen, _)| chosen)
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            eprintln!("putting {} back to {}: {error}", self.path.display(), self.before);
        }
    }
}
