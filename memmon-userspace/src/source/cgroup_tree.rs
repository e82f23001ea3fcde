//! The cgroup hierarchy that carries the memory controller, and a walk through it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, open, openat, statat};
use rustix::io::Errno;

use super::mountinfo::{CgroupMount, cgroup_mounts};

/// Inode number of the root of every cgroup hierarchy: kernfs gives the first one to its root.
const ROOT_ID: u64 = 1;

/// The hierarchy that carries the memory controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupTree {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// `hierarchy_id` of the kernel; 0 for cgroup v2. Goes into the eBPF programs' settings.
    pub hierarchy: u32,
    /// Path of the mounted directory in the hierarchy: empty unless only a part of it is mounted. Goes in
    /// front of every path.
    prefix: String,
}

/// A cgroup that a scan met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedCgroup {
    /// Cgroup id: the inode number of the directory.
    pub id: u64,
    /// Path from the root of the hierarchy, as the kernel prints it; `/` for the root.
    pub path: String,
}

/// The result of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Every cgroup that was met, parents before children.
    pub cgroups: Vec<ScannedCgroup>,
    /// Whether every directory could be read. Directories that vanish during the walk do not count.
    pub complete: bool,
}

/// Why there is no tree to watch, or it could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CgroupTreeError {
    /// A file could not be read.
    #[error("reading {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The memory controller is off.
    #[error(
        "the kernel's memory controller is off: remove cgroup_disable=memory from the kernel command line"
    )]
    Disabled,
    /// The controller's hierarchy is not mounted.
    #[error("no mounted cgroup hierarchy carries the memory controller: mount cgroup2 at /sys/fs/cgroup")]
    NotMounted,
}

impl CgroupTree {
    /// Finds the hierarchy from `proc/cgroups` and `proc/self/mountinfo` below `host`, which is `/` outside of
    /// tests.
    ///
    /// # Errors
    /// If these cannot be read, or no mounted hierarchy has the memory controller.
    pub fn discover(host: &Path) -> Result<Self, CgroupTreeError> {
        let below = |path: &str| host.join(path.trim_start_matches('/'));
        let read = |path: PathBuf| {
            fs::read_to_string(&path).map_err(|source| CgroupTreeError::Read { path, source })
        };
        let mounts = cgroup_mounts(&read(below("/proc/self/mountinfo"))?);
        // Kernels without CONFIG_CGROUPS_V1 controllers do not list memory here, or have no such file.
        let controllers = read(below("/proc/cgroups")).unwrap_or_default();
        let (hierarchy, enabled) = memory_controller(&controllers).unwrap_or((0, true));
        if !enabled {
            return Err(CgroupTreeError::Disabled);
        }
        let carries_memory = |mount: &&CgroupMount| match hierarchy {
            0 => mount.unified && lists_memory(&below(&mount.mount_point)),
            _ => !mount.unified && mount.has_option("memory"),
        };
        // Prefer a mount of the whole: containers leave bind mounts of parts behind.
        let mount = mounts
            .iter()
            .filter(carries_memory)
            .min_by_key(|mount| mount.root != "/")
            .ok_or(CgroupTreeError::NotMounted)?;
        Ok(Self {
            mount: below(&mount.mount_point),
            hierarchy,
            prefix: mount.root.trim_end_matches('/').to_owned(),
        })
    }

    /// Whether this is cgroup v1: memmon observes there and changes nothing.
    pub fn is_v1(&self) -> bool {
        self.hierarchy != 0
    }

    /// Whether the mount shows the whole hierarchy. Not so in a cgroup namespace (a container), where the
    /// paths seen here are not those that the kernel reports.
    pub fn shows_everything(&self) -> bool {
        fs::metadata(&self.mount).is_ok_and(|meta| std::os::unix::fs::MetadataExt::ino(&meta) == ROOT_ID)
    }

    /// Directory of the cgroup at `path`.
    pub fn dir(&self, path: &str) -> PathBuf {
        let inside = path.strip_prefix(&self.prefix).unwrap_or(path);
        self.mount.join(inside.trim_start_matches('/'))
    }

    /// Walks the whole tree. Cgroups may come and go meanwhile: those that stay are all found.
    ///
    /// # Errors
    /// If the root cannot be opened. Trouble below it makes the scan incomplete.
    pub fn scan(&self) -> Result<Scan, CgroupTreeError> {
        let root = open(&self.mount, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|e| {
            CgroupTreeError::Read {
                path: self.mount.clone(),
                source: e.into(),
            }
        })?;
        let mut scan = Scan {
            cgroups: Vec::new(),
            complete: true,
        };
        // Paths relative to the root; the empty one is the root. Bytes: a name need not be UTF-8.
        let mut pending = vec![Vec::new()];
        while let Some(relative) = pending.pop() {
            match self.visit(&root, &relative, &mut pending) {
                Ok(cgroup) => scan.cgroups.push(cgroup),
                // NODEV: removed between open and read.
                Err(Errno::NOENT | Errno::NODEV) => {}
                Err(_) => scan.complete = false,
            }
        }
        Ok(scan)
    }

    /// Reads one directory; adds its children to `pending`.
    fn visit(
        &self,
        root: &OwnedFd,
        relative: &[u8],
        pending: &mut Vec<Vec<u8>>,
    ) -> Result<ScannedCgroup, Errno> {
        let name = if relative.is_empty() { b"." } else { relative };
        let stat = statat(root, name, AtFlags::SYMLINK_NOFOLLOW)?;
        // A directory has a link for itself, one in its parent, and one in each directory inside. File systems that do
        // not count them say 1. Most cgroups have none inside, and reading their forty files is what a scan costs.
        let id = match stat.st_nlink {
            2 if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => stat.st_ino,
            _ => read_children(root, name, relative, pending)?,
        };
        let relative = String::from_utf8_lossy(relative);
        let path = match (self.prefix.as_str(), relative.as_ref()) {
            ("", "") => "/".to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, relative) => format!("{prefix}/{relative}"),
        };
        Ok(ScannedCgroup { id, path })
    }
}

/// Adds the directories inside `name` to `pending`; returns the id of `name`.
fn read_children(
    root: &OwnedFd,
    name: &[u8],
    relative: &[u8],
    pending: &mut Vec<Vec<u8>>,
) -> Result<u64, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(root, name, flags, Mode::empty())?;
    // The id comes from the open directory: if another one has taken the path since the parent was read, id and
    // children are both those of the new one.
    let id = fstat(&fd)?.st_ino;
    let already = pending.len();
    for entry in Dir::read_from(&fd)? {
        let entry = entry.inspect_err(|_| pending.truncate(already))?;
        let child = entry.file_name().to_bytes();
        if child != b"." && child != b".." && is_dir(&fd, &entry)? {
            pending.push(match relative {
                [] => child.to_vec(),
                _ => [relative, child].join(&b'/'),
            });
        }
    }
    Ok(id)
}

fn is_dir(dir: &OwnedFd, entry: &rustix::fs::DirEntry) -> Result<bool, Errno> {
    match entry.file_type() {
        FileType::Unknown => {
            let stat = statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        }
        file_type => Ok(file_type == FileType::Directory),
    }
}

/// Hierarchy and state of the memory controller in `/proc/cgroups`; `None` if it is not listed.
fn memory_controller(text: &str) -> Option<(u32, bool)> {
    let line = text
        .lines()
        .find(|line| line.split_ascii_whitespace().next() == Some("memory"))?;
    let mut fields = line.split_ascii_whitespace().skip(1);
    let hierarchy = fields.next()?.parse().ok()?;
    Some((hierarchy, fields.nth(1)? == "1"))
}

fn lists_memory(mount: &Path) -> bool {
    fs::read_to_string(mount.join("cgroup.controllers")).is_ok_and(|text| {
        text.split_ascii_whitespace()
            .any(|controller| controller == "memory")
    })
}

#[cfg(test)]
#[path = "cgroup_tree_tests.rs"]
mod tests;
