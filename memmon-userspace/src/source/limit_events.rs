//! Tells when a cgroup hits one of its limits, without polling.
//!
//! The kernel modifies `memory.events` each time `memory.high` or `memory.max` is hit, before it reclaims, at most
//! every 10 ms (kernel: Documentation/admin-guide/cgroup-v2.rst, `memcg_memory_event`). The `.local` variant
//! leaves out what happens further down, which for a slice would be everybody's events.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches the limits of a few cgroups.
#[derive(Debug)]
pub struct LimitEvents {
    fd: AsyncFd<OwnedFd>,
    mount: PathBuf,
    /// Watch descriptor by file.
    watches: BTreeMap<PathBuf, i32>,
    /// The cgroup that was asked for, by watch descriptor; ancestors stand for several.
    cgroups: BTreeMap<i32, Vec<String>>,
}

impl LimitEvents {
    /// Watches nothing yet. `mount` is where cgroup v2 is mounted. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If the kernel has no inotify instance to give (`fs.inotify.max_user_instances`).
    pub fn new(mount: &Path) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // SAFETY: an OwnedFd keeps its file descriptor open for as long as it lives and always tells the same.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self {
            fd,
            mount: mount.to_owned(),
            watches: BTreeMap::new(),
            cgroups: BTreeMap::new(),
        })
    }

    /// Watches the limits that apply to `cgroups` (paths from the root of the hierarchy): their own, those of
    /// cgroups below them, and those of their ancestors. Others are no longer watched; one that is gone is skipped.
    ///
    /// # Errors
    /// If a file that is there cannot be watched (`fs.inotify.max_user_watches`).
    pub fn watch<'a>(&mut self, cgroups: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
        let mut wanted: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for cgroup in cgroups {
            for (depth, level) in super::cgroupfs::ancestry(cgroup).enumerate() {
                let file = if depth == 0 {
                    "memory.events"
                } else {
                    "memory.events.local"
                };
                let path = self.mount.join(level.trim_start_matches('/')).join(file);
                wanted.entry(path).or_default().push(cgroup.to_owned());
            }
        }
        let gone: Vec<PathBuf> = self
            .watches
            .keys()
            .filter(|path| !wanted.contains_key(*path))
            .cloned()
            .collect();
        for watch in gone.into_iter().filter_map(|path| self.watches.remove(&path)) {
            // The kernel has removed the watch itself if the cgroup is gone.
            let _ = inotify::remove_watch(self.fd.get_ref(), watch);
        }
        self.cgroups.clear();
        for (path, for_cgroups) in wanted {
            // Again for those that are watched already: a restarted unit has a new file at the same path.
            match inotify::add_watch(self.fd.get_ref(), &path, WatchFlags::MODIFY) {
                Ok(watch) => {
                    self.watches.insert(path, watch);
                    self.cgroups.insert(watch, for_cgroups);
                }
                Err(Errno::NOENT | Errno::NODEV) => {
                    self.watches.remove(&path);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until a limit that applies to a watched cgroup is hit; the cgroups it applies to. May be dropped
    /// and called again without losing an event.
    ///
    /// # Errors
    /// If the wait itself fails.
    pub async fn hit(&mut self) -> io::Result<Vec<String>> {
        loop {
            // Cleared before reading: an event that arrives in between wakes again.
            self.fd.readable_mut().await?.clear_ready();
            let hit = self.read()?;
            if !hit.is_empty() {
                return Ok(hit);
            }
        }
    }

    fn read(&self) -> io::Result<Vec<String>> {
        let mut hit: Vec<String> = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) => hit.extend(self.cgroups.get(&event.wd()).into_iter().flatten().cloned()),
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        hit.sort();
        hit.dedup();
        Ok(hit)
    }
}

#[cfg(test)]
#[path = "limit_events_tests.rs"]
mod tests;
