//! The lease file, `/run/memmon/leases.json`: what must be put back.
//!
//! JSON lines, appended and synced, each with a checksum. Appending is one write: the reaction to a page
//! waits for it, so a new file and a rename per change would be the dearer way. A file cut short anywhere
//! keeps every lease of the lines before the cut; the cut line was never synced, so its change was never
//! made. A complete line that is not what memmon wrote means that somebody else wrote to the file: it is
//! kept aside and nothing in it is acted upon.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use std::os::fd::OwnedFd;

use super::fault::{self, Point};
use super::journal_lines::{Entry, LARGEST, encode, replay};
use super::lease::Lease;
use crate::policy::LeaseId;

/// Name of the file in the runtime directory.
const NAME: &str = "leases.json";
/// Room that is allocated ahead, so that a lease can be recorded when `/run` is full.
const AHEAD: u64 = 16 << 10;
/// Ended lines beyond which the file is written anew.
const DEAD_LINES: usize = 64;

/// The lease file, open.
#[derive(Debug)]
pub struct Journal {
    dir: OwnedFd,
    path: PathBuf,
    file: File,
    live: BTreeMap<LeaseId, Lease>,
    next: LeaseId,
    lines: usize,
    line: Vec<u8>,
}

/// What an earlier agent left.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Leases that it did not end.
    pub leases: Vec<Lease>,
    /// The last line was cut short: it had not been synced, so its change was not made.
    pub cut_short: bool,
    /// The file was not memmon's: where it is kept now. Nothing in it was acted upon.
    pub corrupt: Option<Corrupt>,
}

/// A lease file that was kept aside.
#[derive(Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Where it is now.
    pub kept: PathBuf,
    /// The first line that is not memmon's, from 1.
    pub line: usize,
    /// What the intact lines name, in words, for a person to look at.
    pub named: Vec<String>,
}

/// The lease file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}; without a record no limit is changed")]
pub struct JournalError {
    /// What was tried.
    operation: &'static str,
    /// The file.
    path: PathBuf,
    /// Why it failed.
    source: io::Error,
}

/// The leases on record in `dir`, without touching the file: for who only looks. A damaged file has none.
///
/// # Errors
/// If there is a file and it cannot be read.
pub fn recorded(dir: &Path) -> io::Result<Vec<Lease>> {
    let replay = replay(&read(&dir.join(NAME))?);
    Ok(if replay.bad_line.is_none() {
        replay.live.into_values().collect()
    } else {
        Vec::new()
    })
}

impl Journal {
    /// Opens the lease file in `dir`, making both if they are missing.
    ///
    /// # Errors
    /// Those of the operating system. Content is never an error: see [`Recovered`].
    pub fn open(dir: &Path) -> Result<(Self, Recovered), JournalError> {
        let path = dir.join(NAME);
        let failed = |operation| {
            let path = path.clone();
            move |source: io::Error| JournalError {
                operation,
                path,
                source,
            }
        };
        std::fs::create_dir_all(dir).map_err(failed("make the directory of"))?;
        let dir_fd = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("open the directory of")(error.into()))?;
        let bytes = read(&path).map_err(failed("read"))?;
        let replay = replay(&bytes);
        let mut recovered = Recovered {
            cut_short: replay.cut_short,
            ..Recovered::default()
        };
        let live = match replay.bad_line {
            Some(line) => {
                let kept = keep_aside(dir, &path).map_err(failed("keep aside"))?;
                recovered.corrupt = Some(Corrupt {
                    kept,
                    line,
                    named: replay.live.values().map(describe).collect(),
                });
                BTreeMap::new()
            }
            None => replay.live,
        };
        recovered.leases = live.values().cloned().collect();
        let file = append(&dir_fd).map_err(failed("open"))?;
        let next = LeaseId(replay.highest.saturating_add(1));
        let mut journal = Self {
            dir: dir_fd,
            path: path.clone(),
            file,
            live,
            next,
            lines: 0,
            line: Vec::with_capacity(4096),
        };
        // Anew if possible: a line cut short must not be continued, and the room ahead belongs to this file.
        if let Err(error) = journal.rewrite() {
            // What is on record can be put back all the same, which takes no room; what cannot be recorded is not done.
            tracing::error!(%error, "going on with the lease file as it is");
            let intact = if recovered.corrupt.is_some() {
                0
            } else {
                replay.intact
            };
            journal.file.set_len(intact).map_err(failed("cut short"))?;
            journal.lines = replay.lines;
        }
        Ok((journal, recovered))
    }

    /// The leases in force.
    pub fn live(&self) -> impl Iterator<Item = &Lease> {
        self.live.values()
    }

    /// One lease, if it is in force.
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.live.get(&id)
    }

    /// A number for a new lease.
    pub const fn next_id(&mut self) -> LeaseId {
        let id = self.next;
        self.next.0 += 1;
        id
    }

    /// Puts `lease` on record, new or changed; it is on record when this returns.
    ///
    /// # Errors
    /// If it could not be written and synced. Then nothing is on record and nothing may be changed.
    pub fn record(&mut self, lease: Lease) -> Result<(), JournalError> {
        self.append(&Entry::Lease(&lease))?;
        self.live.insert(lease.id, lease);
        Ok(())
    }

    /// Changes a lease's deadline in memory only: after a crash every lease is put back at once anyway.
    pub fn extend(&mut self, id: LeaseId, deadline: crate::policy::MonoTime) {
        if let Some(lease) = self.live.get_mut(&id) {
            lease.deadline = deadline;
        }
    }

    /// Strikes a lease off.
    ///
    /// # Errors
    /// If that could not be written: the lease counts as ended here, but a later start will look at it again.
    pub fn end(&mut self, id: LeaseId) -> Result<(), JournalError> {
        self.live.remove(&id);
        let empty = self.live.is_empty();
        if empty || self.lines > DEAD_LINES + 4 * self.live.len() {
            match self.rewrite() {
                Ok(()) => return Ok(()),
                // No room for another file, and none is needed for an empty one.
                Err(_) if empty && self.file.set_len(0).is_ok() => {
                    self.lines = 0;
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, "the lease file grows on"),
            }
        }
        self.append(&Entry::Ended(id))
    }

    fn append(&mut self, entry: &Entry<'_>) -> Result<(), JournalError> {
        let written = self.try_append(entry);
        written.map_err(|source| JournalError {
            operation: "append to",
            path: self.path.clone(),
            source,
        })
    }

    fn try_append(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        // Somebody removed the file: go on in a new one that holds everything in force.
        if self.file.metadata()?.nlink() == 0 {
            self.try_rewrite()?;
        }
        self.line.clear();
        encode(&mut self.line, entry)?;
        let before = self.file.metadata()?.len();
        let written = self
            .file
            .write_all(&self.line)
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a line would make the next one unreadable.
            self.file.set_len(before)?;
        }
        written?;
        self.lines += 1;
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), JournalError> {
        self.try_rewrite().map_err(|source| JournalError {
            operation: "rewrite",
            path: self.path.clone(),
            source,
        })
    }

    fn try_rewrite(&mut self) -> io::Result<()> {
        const TEMPORARY: &str = "leases.json.new";
        let mut bytes = Vec::new();
        for lease in self.live.values() {
            encode(&mut bytes, &Entry::Lease(lease))?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &self.dir,
            TEMPORARY,
            flags,
            Mode::from(0o600),
        )?);
        file.write_all(&bytes)?;
        // Only a precaution, and not every file system can do it.
        let _ = rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::KEEP_SIZE,
            0,
            AHEAD.max(2 * bytes.len() as u64),
        );
        file.sync_all()?;
        fault::at(Point::LeaseFile);
        rustix::fs::renameat(&self.dir, TEMPORARY, &self.dir, NAME)?;
        rustix::fs::fsync(&self.dir)?;
        self.file = file;
        self.lines = self.live.len();
        Ok(())
    }
}

fn append(dir: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(
        dir,
        NAME,
        flags,
        Mode::from(0o600),
    )?))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(bytes)
}

/// Renames the file to the first free `leases.json.corrupt-N`.
fn keep_aside(dir: &Path, path: &Path) -> io::Result<PathBuf> {
    let dir_fd = File::open(dir)?;
    for number in 1_u32.. {
        let kept = dir.join(format!("{NAME}.corrupt-{number}"));
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(rustix::fs::CWD, path, rustix::fs::CWD, &kept, flags) {
            Ok(()) => {
                dir_fd.sync_all()?;
                return Ok(kept);
            }
            Err(rustix::io::Errno::EXIST) => {}
            // A file system without RENAME_NOREPLACE: look, then rename.
            Err(rustix::io::Errno::INVAL) => {
                if rustix::fs::accessat(
                    rustix::fs::CWD,
                    &kept,
                    rustix::fs::Access::EXISTS,
                    AtFlags::empty(),
                )
                .is_err()
                {
                    std::fs::rename(path, &kept)?;
                    return Ok(kept);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn describe(lease: &Lease) -> String {
    format!("{} {} {} -> {}", lease.unit, lease.property, lease.old, lease.new)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
