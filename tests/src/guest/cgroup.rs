//! Cgroups (v2), by their directories.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::wait;

/// Where systemd mounts the only hierarchy.
pub const ROOT: &str = "/sys/fs/cgroup";

/// A directory of the hierarchy, existing or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup with that directory.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self {
            path: directory.into(),
        }
    }

    /// The cgroup as /proc/PID/cgroup and systemd's ControlGroup name it: `/system.slice/a.service`.
    pub fn named(name: &str) -> Self {
        Self::at(Path::new(ROOT).join(name.trim_start_matches('/')))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id: the inode of its directory.
    ///
    /// # Errors
    /// If it is gone.
    pub fn id(&self) -> Result<u64> {
        let metadata =
            fs::metadata(&self.path).with_context(|| format!("looking at {}", self.path.display()))?;
        Ok(metadata.ino())
    }

    /// The cgroup of that name below this one.
    pub fn child(&self, name: &str) -> Self {
        Self::at(self.path.join(name))
    }

    /// A file's content, without the last line end.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }

    /// A file's content as a number.
    ///
    /// # Errors
    /// If it cannot be read or is no number (`max` is none).
    pub fn number(&self, file: &str) -> Result<u64> {
        let text = self.read(file)?;
        text.parse()
            .with_context(|| format!("{file} of {}: {text:?}", self.path.display()))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).with_context(|| format!("writing {value:?} to {}", path.display()))
    }

    /// Has the kernel reclaim so many bytes. It may take less (EAGAIN), which is no error: what matters is
    /// what was swapped, and that is counted elsewhere.
    ///
    /// # Errors
    /// If there is no memory.reclaim (before 6.1) or it fails otherwise.
    pub fn reclaim(&self, bytes: u64) -> Result<()> {
        let path = self.path.join("memory.reclaim");
        match fs::write(&path, bytes.to_string()) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
            written => written.with_context(|| format!("writing {}", path.display())),
        }
    }

    /// The processes in it, not those below.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let text = self.read("cgroup.procs")?;
        text.lines()
            .map(|pid| pid.parse().with_context(|| format!("a pid: {pid}")))
            .collect()
    }

    /// Kills what is in it and removes it with those below; that it is gone already is fine.
    ///
    /// # Errors
    /// If something in it does not die within half a minute, or it cannot be removed.
    pub fn kill_and_remove(&self) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        self.write("cgroup.kill", "1")?;
        let deadline = Instant::now() + Duration::from_secs(30);
        wait::until(deadline, "a killed cgroup is empty", || {
            Ok(self
                .read("cgroup.events")?
                .lines()
                .any(|line| line == "populated 0")
                .then_some(()))
        })?;
        remove_tree(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
