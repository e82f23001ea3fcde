//! Writes a limit into a cgroup file, after making sure that it is still the cgroup that was meant.

use std::io;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::systemd_props::is_unit_directory;
use crate::decode::Limit;
use crate::decode::cgroup_file;
use crate::policy::Property;
use crate::source::cgroupfs::{CgroupDir, CgroupReadError, CgroupRoot, Number};

/// A limit file of a cgroup whose identity has been checked. The directory stays open, so a cgroup that
/// takes the path meanwhile is not written to.
#[derive(Debug)]
pub struct LimitFile {
    dir: CgroupDir,
    property: Property,
    /// The value when it was opened.
    pub value: Limit,
}

/// A limit could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CgroupWriteError {
    /// The cgroup is not there, or another one has its path: the unit stopped or was restarted.
    #[error("cgroup {path} is gone")]
    Gone {
        /// Path of the cgroup.
        path: String,
    },
    /// memmon does not write there.
    #[error("{path} is not the cgroup of {unit} itself: memmon does not write below a delegation boundary")]
    NotTheUnits {
        /// Path of the cgroup.
        path: String,
        /// The unit.
        unit: String,
    },
    /// The write would reclaim, in this thread and for as long as it takes.
    #[error(
        "memory.high of {path} is not lowered to {new}: {current} bytes are in use, the write would block"
    )]
    WouldBlock {
        /// Path of the cgroup.
        path: String,
        /// The value wanted.
        new: Limit,
        /// `memory.current`, bytes.
        current: u64,
    },
    /// The operating system said no.
    #[error("cannot {operation} {file} of cgroup {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Path of the cgroup.
        path: String,
        /// Which file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel took the write and still has another value.
    #[error("{file} of cgroup {path} is {found} after {wanted} was written")]
    NotTaken {
        /// Path of the cgroup.
        path: String,
        /// Which file.
        file: &'static str,
        /// What was written.
        wanted: Limit,
        /// What is there.
        found: Limit,
    },
}

impl From<CgroupReadError> for CgroupWriteError {
    fn from(error: CgroupReadError) -> Self {
        match error {
            CgroupReadError::Gone { path } => Self::Gone { path },
            CgroupReadError::Io { path, file, source } => Self::Io {
                operation: "read",
                path,
                file,
                source,
            },
        }
    }
}

impl LimitFile {
    /// Opens the file of `property` in the cgroup at `path`, if that is the cgroup of `unit` itself and its
    /// inode is `inode` (`None`: whichever has the path now).
    ///
    /// # Errors
    /// [`CgroupWriteError::Gone`] if it is another cgroup or none; others as they say.
    pub fn open(
        root: &CgroupRoot,
        unit: &str,
        path: &str,
        inode: Option<u64>,
        property: Property,
    ) -> Result<Self, CgroupWriteError> {
        if !is_unit_directory(path, unit) {
            return Err(CgroupWriteError::NotTheUnits {
                path: path.into(),
                unit: unit.into(),
            });
        }
        let dir = root.cgroup(path)?;
        if let Some(inode) = inode
            && dir.inode()? != inode
        {
            return Err(CgroupWriteError::Gone { path: path.into() });
        }
        let value = read(&dir, property)?;
        Ok(Self { dir, property, value })
    }

    /// Inode of the cgroup's directory.
    ///
    /// # Errors
    /// If it cannot be examined.
    pub fn inode(&self) -> Result<u64, CgroupWriteError> {
        Ok(self.dir.inode()?)
    }

    /// `memory.current`, bytes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn current(&self) -> Result<u64, CgroupWriteError> {
        let text: Number = self.dir.text("memory.current")?;
        cgroup_file::bytes(text.as_str()).map_err(|error| self.content("memory.current", error))
    }

    /// Writes `new` and makes sure that the kernel has it. Never blocks: what would is refused.
    ///
    /// # Errors
    /// As they say; the value is unchanged then, except after [`CgroupWriteError::NotTaken`].
    pub fn write(&mut self, new: Limit, page_size: u64) -> Result<(), CgroupWriteError> {
        if self.property == Property::MemoryHigh && new < self.value {
            let current = self.current()?;
            if new < Limit::Bytes(current) {
                return Err(CgroupWriteError::WouldBlock {
                    path: self.dir.path().into(),
                    new,
                    current,
                });
            }
        }
        self.write_through(new, page_size)
    }

    /// As [`Self::write`], but lowers `memory.high` below usage too: reclaims for as long as that takes. For a
    /// thread that can be abandoned.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_through(&mut self, new: Limit, page_size: u64) -> Result<(), CgroupWriteError> {
        let file = self.property.file();
        let io = |operation, error: Errno| match error {
            Errno::NODEV | Errno::NOENT => CgroupWriteError::Gone {
                path: self.dir.path().into(),
            },
            error => CgroupWriteError::Io {
                operation,
                path: self.dir.path().into(),
                file,
                source: error.into(),
            },
        };
        // TRUNC as the shell's `>` does: the kernel ignores it, a copy of a tree needs it.
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.dir.fd(), file, flags, Mode::empty())
            .map_err(|error| io("open", error))?;
        rustix::io::write(&fd, format!("{new}\n").as_bytes()).map_err(|error| io("write", error))?;
        self.value = read(&self.dir, self.property)?;
        let wanted = new.page_aligned(page_size);
        if self.value == wanted || self.value == new {
            return Ok(());
        }
        Err(CgroupWriteError::NotTaken {
            path: self.dir.path().into(),
            file,
            wanted,
            found: self.value,
        })
    }

    fn content(&self, file: &'static str, error: cgroup_file::CgroupFileError) -> CgroupWriteError {
        content(&self.dir, file, error)
    }
}

fn content(dir: &CgroupDir, file: &'static str, error: cgroup_file::CgroupFileError) -> CgroupWriteError {
    let source = io::Error::new(io::ErrorKind::InvalidData, error);
    CgroupWriteError::Io {
        operation: "understand",
        path: dir.path().into(),
        file,
        source,
    }
}

fn read(dir: &CgroupDir, property: Property) -> Result<Limit, CgroupWriteError> {
    let text: Number = dir.text(property.file())?;
    cgroup_file::limit(text.as_str()).map_err(|error| content(dir, property.file(), error))
}

#[cfg(test)]
#[path = "cgroup_write_tests.rs"]
mod tests;
