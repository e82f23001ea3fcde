//! Cgroups of our own, on v1 and v2 alike.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use memmon::source::cgroup_tree::CgroupTree;

use super::wait;

/// A cgroup with the memory controller; removed when this is dropped.
#[derive(Debug)]
pub struct Cgroup {
    /// Path from the root of the hierarchy, as the kernel prints it.
    pub path: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Its id: the inode number of the directory.
    pub id: u64,
    v1: bool,
    removed: bool,
}

impl Cgroup {
    /// Makes `name` at the top of the tree.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(tree: &CgroupTree, name: &str) -> Result<Self> {
        Self::make(
            &tree.mount,
            &format!("/{name}"),
            &tree.mount.join(name),
            tree.is_v1(),
        )
    }

    /// Makes `name` below this one.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn child(&self, name: &str) -> Result<Self> {
        let path = format!("{}/{name}", self.path);
        Self::make(&self.dir, &path, &self.dir.join(name), self.v1)
    }

    fn make(parent: &Path, path: &str, dir: &Path, v1: bool) -> Result<Self> {
        if !v1 {
            let control = parent.join("cgroup.subtree_control");
            fs::write(&control, "+memory").with_context(|| format!("writing {}", control.display()))?;
        }
        fs::create_dir(dir).with_context(|| format!("making the cgroup {}", dir.display()))?;
        let mut cgroup = Self {
            path: path.to_owned(),
            dir: dir.to_owned(),
            id: 0,
            v1,
            removed: false,
        };
        cgroup.id = fs::metadata(dir)
            .with_context(|| format!("looking at {}", dir.display()))?
            .ino();
        Ok(cgroup)
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))
    }

    /// Moves a process in. Memory it has touched before stays with its old cgroup.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn add(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Limits its memory.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn limit(&self, bytes: u64) -> Result<()> {
        let file = if self.v1 {
            "memory.limit_in_bytes"
        } else {
            "memory.max"
        };
        self.write(file, &bytes.to_string())
    }

    /// File and value that push its memory out when somebody writes them: as much as there is on v1, up to
    /// `bytes` on v2.
    pub fn reclaim_request(&self, bytes: u64) -> (PathBuf, String) {
        if self.v1 {
            (self.dir.join("memory.force_empty"), "0".to_owned())
        } else {
            (self.dir.join("memory.reclaim"), bytes.to_string())
        }
    }

    /// Removes it now.
    ///
    /// # Errors
    /// If it stays busy.
    pub fn remove(&mut self) -> Result<()> {
        if self.removed {
            return Ok(());
        }
        // A process that has just been reaped still counts for a moment.
        wait::until("the cgroup's last process leaves it", || {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(None),
                done => done
                    .with_context(|| format!("removing {}", self.dir.display()))
                    .map(Some),
            }
        })?;
        self.removed = true;
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            // Interrupted while waiting: one last try, for whoever is left is dying.
            if fs::remove_dir(&self.dir).is_err() {
                eprintln!("{error:#}");
            }
        }
    }
}
