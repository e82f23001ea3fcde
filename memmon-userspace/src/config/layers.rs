//! Which files make the configuration.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::ConfigError;

const VENDOR: &str = "usr/lib/memmon/memmon.toml";
const RUNTIME_DIR: &str = "run/memmon/memmon.toml.d";
const ADMIN: &str = "etc/memmon/memmon.toml";
const ADMIN_DIR: &str = "etc/memmon/memmon.toml.d";

/// Where the configuration is looked for. Lowest first: the vendor's file (the built-in copy if there is
/// none), the files in `/run`, the administrator's file, and the administrator's files by name.
///
/// Files of one name in `/run` and `/etc` are both read, in that order; neither hides the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    root: PathBuf,
    only: Option<PathBuf>,
}

impl Layers {
    /// The host's.
    pub fn system() -> Self {
        Self::under("/")
    }

    /// As [`Layers::system`], below another directory than `/`.
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            only: None,
        }
    }

    /// With `file`, if given, in the place of everything in `/run` and `/etc`; the vendor's stays below it.
    #[must_use]
    pub fn with_file(mut self, file: Option<PathBuf>) -> Self {
        self.only = file;
        self
    }

    /// The vendor's file, if it is there.
    pub(super) fn vendor(&self) -> Result<Option<(PathBuf, Vec<u8>)>, Unreadable> {
        optional(self.root.join(VENDOR))
    }

    /// The other files that are there, lowest first; what could not be read goes to `errors`.
    pub(super) fn local(&self, errors: &mut Vec<ConfigError>) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut take = |result: Result<Option<_>, Unreadable>| match result {
            Ok(file) => found.extend(file),
            Err(unreadable) => errors.push(unreadable.into()),
        };
        if let Some(path) = &self.only {
            take(required(path.clone()).map(Some));
            return found;
        }
        for (dir, admin) in [(RUNTIME_DIR, None), (ADMIN_DIR, Some(ADMIN))] {
            if let Some(file) = admin {
                take(optional(self.root.join(file)));
            }
            match drop_ins(&self.root.join(dir)) {
                Ok(paths) => paths.into_iter().for_each(|path| take(required(path).map(Some))),
                Err(unreadable) => take(Err(unreadable)),
            }
        }
        found
    }
}

/// A file or directory that is there and cannot be read.
pub(super) struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

impl From<Unreadable> for ConfigError {
    fn from(Unreadable { path, source }: Unreadable) -> Self {
        Self::Read { path, source }
    }
}

/// The files `*.toml` in `dir`, by name, hidden ones left out; none if there is no such directory.
fn drop_ins(dir: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let failed = |source| Unreadable {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn required(path: PathBuf) -> Result<(PathBuf, Vec<u8>), Unreadable> {
    match fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(source) => Err(Unreadable { path, source }),
    }
}

fn optional(path: PathBuf) -> Result<Option<(PathBuf, Vec<u8>)>, Unreadable> {
    match required(path) {
        Ok(file) => Ok(Some(file)),
        Err(unreadable) if unreadable.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(unreadable) => Err(unreadable),
    }
}
