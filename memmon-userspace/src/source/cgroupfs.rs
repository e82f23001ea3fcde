//! Reads the memory files of a cgroup v2 tree as text. The root is given, so that a copy of a tree serves
//! as well.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// The beginning of a small file, without the heap: this is read while the host swaps.
#[derive(Clone, Copy, Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

/// Text of a file that holds one number. A longer text is cut; it is no number then either.
pub type Number = Text<32>;

impl<const N: usize> Text<N> {
    /// The text; empty if it is not UTF-8, which no decoder takes for a value.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// Reads the file `name` in `dir`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn read_at(dir: BorrowedFd<'_>, name: &str) -> Result<Self, Errno> {
        let fd = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = [0; N];
        let len = rustix::io::read(&fd, &mut bytes)?;
        Ok(Self { bytes, len })
    }
}

/// The memory files of one cgroup, not yet understood.
#[derive(Clone, Debug)]
pub struct RawLevel {
    /// Path from the root of the hierarchy, beginning with `/`.
    pub path: String,
    /// `memory.max`.
    pub max: Number,
    /// `memory.high`.
    pub high: Number,
    /// `memory.current`.
    pub current: Number,
    /// `memory.swap.max` and `memory.swap.current`; `None` where the kernel has no swap accounting.
    pub swap: Option<(Number, Number)>,
}

/// A cgroup file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CgroupReadError {
    /// The cgroup is not there (any more). Usually no fault: units stop.
    #[error("cgroup {path} is gone")]
    Gone {
        /// Path of the cgroup.
        path: String,
    },
    /// The operating system said no.
    #[error("cannot read {file} of cgroup {path}: {source}")]
    Io {
        /// Path of the cgroup.
        path: String,
        /// Which file; `.` for the directory itself.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The root directory of a cgroup v2 hierarchy.
#[derive(Debug)]
pub struct CgroupRoot {
    dir: OwnedFd,
    path: PathBuf,
}

/// An open cgroup directory: it stays the same cgroup even if another one takes its path.
#[derive(Debug)]
pub struct CgroupDir {
    dir: OwnedFd,
    path: String,
}

impl CgroupRoot {
    /// Opens the hierarchy at `path`, usually `/sys/fs/cgroup`.
    ///
    /// # Errors
    /// If it is not a directory that may be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            dir,
            path: path.to_owned(),
        })
    }

    /// Where the hierarchy is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the cgroup at `path` (from the root of the hierarchy).
    ///
    /// # Errors
    /// [`CgroupReadError::Gone`] if there is none, [`CgroupReadError::Io`] otherwise.
    pub fn cgroup(&self, path: &str) -> Result<CgroupDir, CgroupReadError> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(
            &self.dir,
            OsStr::from_bytes(relative.as_bytes()),
            flags,
            Mode::empty(),
        ) {
            Ok(dir) => Ok(CgroupDir {
                dir,
                path: path.to_owned(),
            }),
            Err(Errno::NOENT | Errno::NODEV) => Err(CgroupReadError::Gone {
                path: path.to_owned(),
            }),
            Err(error) => Err(CgroupReadError::Io {
                path: path.to_owned(),
                file: ".",
                source: error.into(),
            }),
        }
    }

    /// The memory files of the cgroup at `path` and of each ancestor below the root, innermost first.
    /// The root itself has no limits.
    ///
    /// # Errors
    /// If one of them cannot be read: headroom computed from part of a chain would be wrong.
    pub fn chain(&self, path: &str) -> Result<Vec<RawLevel>, CgroupReadError> {
        ancestry(path).map(|path| self.cgroup(path)?.level()).collect()
    }

    /// The memory files of all cgroups *below* `path`, and whether these are all: at most `budget` are
    /// visited. A service usually has none.
    ///
    /// # Errors
    /// If one of them cannot be read. One that vanishes meanwhile, or has no memory controller, is skipped.
    pub fn below(&self, path: &str, budget: usize) -> Result<(Vec<RawLevel>, bool), CgroupReadError> {
        let mut found = Vec::new();
        let mut pending = self.cgroup(path)?.children()?;
        for _ in 0..budget {
            let Some(child) = pending.pop() else { break };
            match self
                .cgroup(&child)
                .and_then(|dir| Ok((dir.level()?, dir.children()?)))
            {
                Ok((level, children)) => {
                    found.push(level);
                    pending.extend(children);
                }
                Err(CgroupReadError::Gone { .. }) => {}
                Err(CgroupReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok((found, pending.is_empty()))
    }
}

impl CgroupDir {
    /// The directory's descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Path from the root of the hierarchy.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The inode number: on cgroup v2 the cgroup id.
    ///
    /// # Errors
    /// If the directory cannot be examined.
    pub fn inode(&self) -> Result<u64, CgroupReadError> {
        rustix::fs::fstat(&self.dir)
            .map(|stat| stat.st_ino)
            .map_err(|error| self.error(".", error))
    }

    /// The memory files of this cgroup.
    ///
    /// # Errors
    /// [`CgroupReadError::Gone`] if it has been removed, [`CgroupReadError::Io`] otherwise, in particular
    /// `NotFound` where the memory controller is not enabled.
    pub fn level(&self) -> Result<RawLevel, CgroupReadError> {
        let max = self.text("memory.max")?;
        let swap = match Text::read_at(self.fd(), "memory.swap.max") {
            Ok(max) => Some((max, self.text("memory.swap.current")?)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(self.error("memory.swap.max", error)),
        };
        let (high, current) = (self.text("memory.high")?, self.text("memory.current")?);
        Ok(RawLevel {
            path: self.path.clone(),
            max,
            high,
            current,
            swap,
        })
    }

    /// One file of this cgroup.
    ///
    /// # Errors
    /// As [`Self::level`].
    pub fn text<const N: usize>(&self, file: &'static str) -> Result<Text<N>, CgroupReadError> {
        Text::read_at(self.fd(), file).map_err(|error| self.error(file, error))
    }

    /// One file of this cgroup; `None` if this kernel, or its command line, does not provide it.
    ///
    /// # Errors
    /// As [`Self::level`].
    pub fn optional<const N: usize>(&self, file: &'static str) -> Result<Option<Text<N>>, CgroupReadError> {
        match Text::read_at(self.fd(), file) {
            Ok(text) => Ok(Some(text)),
            // With psi=0 the pressure files of some kernels are there but answer EOPNOTSUPP.
            Err(Errno::NOENT | Errno::OPNOTSUPP) if !self.is_removed() => Ok(None),
            Err(error) => Err(self.error(file, error)),
        }
    }

    fn children(&self) -> Result<Vec<String>, CgroupReadError> {
        let error = |error: Errno| self.error(".", error);
        let mut children = Vec::new();
        for entry in Dir::read_from(&self.dir).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_bytes();
            if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
                children.push(format!(
                    "{}/{}",
                    self.path.trim_end_matches('/'),
                    String::from_utf8_lossy(name)
                ));
            }
        }
        Ok(children)
    }

    /// A removed cgroup has lost all its files; one without the memory controller still has `cgroup.procs`.
    fn is_removed(&self) -> bool {
        rustix::fs::accessat(&self.dir, "cgroup.procs", Access::EXISTS, AtFlags::empty()).is_err()
    }

    fn error(&self, file: &'static str, error: Errno) -> CgroupReadError {
        if error == Errno::NODEV || (error == Errno::NOENT && self.is_removed()) {
            CgroupReadError::Gone {
                path: self.path.clone(),
            }
        } else {
            CgroupReadError::Io {
                path: self.path.clone(),
                file,
                source: error.into(),
            }
        }
    }
}

/// `path` and its ancestors below the root, innermost first: `/a/b` gives `/a/b`, `/a`.
pub(super) fn ancestry(path: &str) -> impl Iterator<Item = &str> {
    let trimmed = path.trim_end_matches('/');
    std::iter::successors(Some(trimmed), |path| path.rfind('/').map(|slash| &path[..slash]))
        .take_while(|path| !path.is_empty())
}

#[cfg(test)]
#[path = "cgroupfs_tests.rs"]
mod tests;
