//! The cache outside the checkout: `$XDG_CACHE_HOME/memmon/vm`, with entries that appear whole or not at all.

use std::{
    env, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};

/// The file of an entry that says by which recipe it was made.
const STAMP: &str = "recipe";

/// The cache directory, made if it is missing.
///
/// # Errors
/// If neither `XDG_CACHE_HOME` nor `HOME` is set, or the directory cannot be made.
pub(crate) fn dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    let dir = base.join("memmon").join("vm");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

/// Keeps other xtasks of this user from doing the same thing at the same time; released when dropped.
///
/// # Errors
/// If the lock file cannot be opened or locked.
pub(crate) fn lock(what: &str) -> Result<File> {
    let path = dir()?.join(format!("{what}.lock"));
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("vm: waiting for another xtask, which holds {}", path.display());
        file.lock()
            .with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

/// A directory in the cache, made by a recipe.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    path: PathBuf,
}

impl Entry {
    /// The entry of that kind and name, existing or not.
    pub(crate) fn new(kind: &str, name: &str) -> Result<Self> {
        Ok(Self {
            path: dir()?.join(kind).join(name),
        })
    }

    /// Where a file of the entry lies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The recipe the entry was made by; `None` if it does not exist.
    pub(crate) fn recipe(&self) -> Option<String> {
        fs::read_to_string(self.file(STAMP)).ok()
    }

    /// Makes the entry in a directory beside it and puts it into place once it is complete.
    ///
    /// # Errors
    /// Those of `make`, after which the old entry, if any, is still there; or if files cannot be written.
    pub(crate) fn make(&self, recipe: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let parent = self.path.parent().context("a cache entry has a parent")?;
        let new = self.path.with_added_extension(format!("new-{}", process::id()));
        let old = self.path.with_added_extension(format!("old-{}", process::id()));
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        remove_left_over(parent, &self.path)?;
        fs::create_dir(&new).with_context(|| format!("creating {}", new.display()))?;
        let made = make(&new).and_then(|()| {
            let stamp = new.join(STAMP);
            fs::write(&stamp, recipe).with_context(|| format!("writing {}", stamp.display()))
        });
        if let Err(error) = made {
            remove(&new)?;
            return Err(error);
        }
        if self.path.exists() {
            fs::rename(&self.path, &old).with_context(|| format!("moving {} away", self.path.display()))?;
        }
        fs::rename(&new, &self.path).with_context(|| format!("renaming to {}", self.path.display()))?;
        remove(&old)
    }
}

/// Removes what an interrupted `make` of this entry left behind; the lock keeps a running one safe.
fn remove_left_over(parent: &Path, entry: &Path) -> Result<()> {
    let name = entry.file_name().unwrap_or_default().to_string_lossy();
    for found in fs::read_dir(parent).with_context(|| format!("reading {}", parent.display()))? {
        let found = found?;
        let file = found.file_name();
        let Some(rest) = file.to_str().and_then(|file| file.strip_prefix(&*name)) else {
            continue;
        };
        if rest.starts_with(".new-") || rest.starts_with(".old-") {
            remove(&found.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
