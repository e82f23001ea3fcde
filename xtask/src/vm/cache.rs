//! The cache outside the checkout: `$XDG_CACHE_HOME/memmon/vm`, with entries that appear whole or not at all.

use std::{
    env, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

/// The file of an entry that says which version it is, and by its time when it was last used.
const STAMP: &str = "version";
/// How long an image is kept without being used.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

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

/// As [`lock`], of the first of several that is free.
///
/// # Errors
/// As [`lock`].
pub(crate) fn lock_one_of(names: &[&str]) -> Result<File> {
    let files = names
        .iter()
        .map(|name| {
            let path = dir()?.join(format!("{name}.lock"));
            File::create(&path).with_context(|| format!("creating {}", path.display()))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut told = false;
    loop {
        if let Some(free) = files.iter().position(|file| file.try_lock().is_ok()) {
            return files.into_iter().nth(free).context("the position is one of them");
        }
        if !told {
            eprintln!(
                "vm: waiting for another xtask, which holds {}",
                names.join(" and ")
            );
            told = true;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A directory in the cache, made by a recipe.
///
/// Its name contains the recipe's hash: checkouts with different recipes do not take each other's images away.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    path: PathBuf,
}

impl Entry {
    /// The entry of that kind, name and recipe, existing or not.
    pub(crate) fn new(kind: &str, name: &str, recipe: &str) -> Result<Self> {
        let name = format!("{name}-{:016x}", fnv1a(recipe.as_bytes()));
        Ok(Self {
            path: dir()?.join(kind).join(name),
        })
    }

    /// Where a file of the entry lies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The version that was made, `None` if there is none; notes that somebody uses it.
    pub(crate) fn version(&self) -> Option<String> {
        let stamp = self.file(STAMP);
        let version = fs::read_to_string(&stamp).ok()?;
        if let Ok(file) = File::options().append(true).open(&stamp) {
            // Only decides when an image nobody uses any more is removed.
            let _ = file.set_modified(SystemTime::now());
        }
        Some(version)
    }

    /// Makes the entry in a directory beside it and puts it into place once it is complete. Removes entries
    /// of other recipes that were not used for a long time.
    ///
    /// # Errors
    /// Those of `make`, after which the old entry, if any, is still there; or if files cannot be written.
    pub(crate) fn make(&self, version: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let parent = self.path.parent().context("a cache entry has a parent")?;
        let new = self.path.with_added_extension("new");
        let old = self.path.with_added_extension("old");
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        remove_unused(parent)?;
        // What an interrupted run left: the lock says that nobody is at it.
        remove(&new)?;
        remove(&old)?;
        fs::create_dir(&new).with_context(|| format!("creating {}", new.display()))?;
        let made = make(&new).and_then(|()| {
            let stamp = new.join(STAMP);
            fs::write(&stamp, version).with_context(|| format!("writing {}", stamp.display()))
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

/// Removes entries that nobody has used for [`UNUSED`], finished or not.
fn remove_unused(parent: &Path) -> Result<()> {
    for found in fs::read_dir(parent).with_context(|| format!("reading {}", parent.display()))? {
        let path = found?.path();
        let last_use = fs::metadata(path.join(STAMP)).or_else(|_| fs::metadata(&path));
        let modified = last_use.and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > UNUSED) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// A hash that is the same in every build (Fowler, Noll, Vo, 64 bits): it names files, and protects nothing.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
