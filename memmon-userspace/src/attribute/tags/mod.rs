//! Regions of memory that processes have declared critical.
//!
//! A process tags what matters to it; tags may overlap and touch. From them the registry makes what a look-up
//! needs: for each process the sorted, disjoint ranges of whole pages, each with one label. A page under two tags
//! belongs to the older one, so that a neighbour whose buffer ends on the same page takes nothing over; when the
//! older tag goes, the page is the younger one's.
//!
//! One task owns it. It touches no process: who asks, and that it is alive, is found out before.

mod error;
mod limits;
mod merge;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use self::error::TagError;
pub use self::limits::{Limits, Total, is_person};
pub use self::merge::{Label, Region};

/// Bytes of a page. Only x86-64 is supported, where it is always this.
const PAGE: u64 = 4096;
/// First address beyond what a process can have, with five-level page tables.
const USER_END: u64 = 1 << 56;
/// Most bytes of one tag: whoever tags all addresses there are has not said what matters.
const LENGTH_MAX: u64 = 16 << 40;
/// Longest label, bytes.
const LABEL_MAX: usize = 64;

/// A process, for as long as it runs the same program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Process id (of the thread group).
    pub pid: u32,
    /// When it started, clock ticks since boot: tells a reused pid.
    pub started: u64,
    /// What it executes: tells an exec.
    pub image: Image,
}

/// Marks of the program that a process executes; all of them the same after an exec is next to impossible
/// with address space randomisation, and means the same file at the same place without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    /// Device and inode of the executable file.
    pub file: (u64, u64),
    /// Where its code begins.
    pub code: u64,
    /// Where its stack began.
    pub stack: u64,
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    start: u64,
    end: u64,
    label: Label,
}

/// A process with tags.
#[derive(Debug)]
pub struct Tagged {
    /// Which process.
    pub key: ProcessKey,
    /// Its user.
    pub uid: u32,
    /// The disjoint ranges, by address.
    pub regions: Arc<[Region]>,
    tags: BTreeMap<u64, Tag>,
    /// Labels in use: number and how many tags have it.
    labels: BTreeMap<Arc<str>, (u32, usize)>,
}

impl Tagged {
    fn new(key: &ProcessKey, uid: u32) -> Self {
        Self {
            key: key.clone(),
            uid,
            regions: Arc::default(),
            tags: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    /// Its labels in use, those included that lie wholly under older tags.
    pub fn labels(&self) -> impl Iterator<Item = Label> {
        self.labels.iter().map(|(name, (number, _))| Label {
            number: *number,
            name: Arc::clone(name),
        })
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some(tag) = self.tags.remove(&id) else {
            return false;
        };
        if let Some((_, users)) = self.labels.get_mut(&tag.label.name) {
            *users -= 1;
            if *users == 0 {
                self.labels.remove(&tag.label.name);
            }
        }
        true
    }

    /// The region that `address` is in.
    pub fn at(&self, address: u64) -> Option<&Region> {
        region_at(&self.regions, address)
    }

    /// How many entries of the kernel's table its regions take.
    pub fn ranges(&self) -> usize {
        ranges(&self.regions)
    }

    /// How many tags it has.
    pub fn tags(&self) -> usize {
        self.tags.len()
    }
}

/// The one of `regions`, which are sorted and disjoint, that `address` is in.
pub fn region_at(regions: &[Region], address: u64) -> Option<&Region> {
    let after = regions.partition_point(|region| region.start <= address);
    regions[..after].last().filter(|region| address < region.end)
}

fn ranges(regions: &[Region]) -> usize {
    regions.iter().map(Region::ranges).sum()
}

/// All tags of all processes.
#[derive(Debug)]
pub struct Tags {
    limits: Limits,
    processes: HashMap<u32, Tagged>,
    ranges: usize,
    next_id: u64,
    next_label: u32,
}

impl Tags {
    /// No tags yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            processes: HashMap::new(),
            ranges: 0,
            next_id: 1,
            next_label: 1,
        }
    }

    /// Tags `length` bytes from `start`, rounded outwards to whole pages, and returns the tag's id, which is never
    /// used twice.
    ///
    /// Tags of an earlier process with the same pid, or of an earlier program of the same process, are gone with
    /// it.
    ///
    /// # Errors
    /// If the range or label makes no sense, or a limit is reached; nothing has changed then, except that tags of
    /// an earlier process are gone.
    pub fn tag(
        &mut self,
        key: &ProcessKey,
        uid: u32,
        start: u64,
        length: u64,
        label: &str,
    ) -> Result<u64, TagError> {
        let (start, end) = pages(start, length)?;
        check_label(label)?;
        if self.get(key.pid).is_some_and(|known| known.key != *key) {
            self.forget(key.pid);
        }
        // A process that has changed its user since is counted with the one that it had.
        let uid = self.get(key.pid).map_or(uid, |known| known.uid);
        self.check_room_for_process(key.pid, uid)?;
        self.check_room_for_label(key.pid, uid, label)?;
        let known = self
            .processes
            .entry(key.pid)
            .or_insert_with(|| Tagged::new(key, uid));
        if known.tags.len() >= self.limits.tags_per_process {
            return Err(TagError::Tags {
                limit: self.limits.tags_per_process,
            });
        }
        let id = self.next_id;
        let name = match known.labels.get_key_value(label) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(label),
        };
        let (number, users) = known.labels.entry(Arc::clone(&name)).or_insert_with(|| {
            let number = self.next_label;
            // Never 0, which means none. Whoever makes four billion labels may get one that was in use long ago.
            self.next_label = self.next_label.checked_add(1).unwrap_or(1);
            (number, 0)
        });
        *users += 1;
        let label = Label {
            number: *number,
            name,
        };
        known.tags.insert(id, Tag { start, end, label });
        let before = known.ranges();
        let regions = merge::merge(&known.tags);
        let after = ranges(&regions);
        if let Err(error) = self.check_room(uid, before, after) {
            self.take_back(key.pid, id);
            return Err(error);
        }
        self.next_id += 1;
        self.ranges = self.ranges - before + after;
        if let Some(known) = self.processes.get_mut(&key.pid) {
            known.regions = regions.into();
        }
        Ok(id)
    }

    /// Removes a tag that was not accepted, and with it a process that has no other.
    fn take_back(&mut self, pid: u32, id: u64) {
        if let Some(known) = self.processes.get_mut(&pid) {
            known.remove(id);
            if known.tags.is_empty() {
                self.processes.remove(&pid);
            }
        }
    }

    /// Takes a tag of this process away.
    ///
    /// # Errors
    /// If it has no tag of this id.
    pub fn untag(&mut self, key: &ProcessKey, id: u64) -> Result<(), TagError> {
        let known = self
            .processes
            .get_mut(&key.pid)
            .filter(|known| known.key == *key)
            .ok_or(TagError::Unknown { id, tags: 0 })?;
        if !known.remove(id) {
            return Err(TagError::Unknown {
                id,
                tags: known.tags.len(),
            });
        }
        let before = known.ranges();
        known.regions = merge::merge(&known.tags).into();
        // Taking the middle of three away can leave more ranges than before: two tags that were one range.
        self.ranges = self.ranges - before + known.ranges();
        if known.tags.is_empty() {
            self.processes.remove(&key.pid);
        }
        Ok(())
    }

    /// Takes all tags of the process away; `false` if it had none.
    pub fn forget(&mut self, pid: u32) -> bool {
        let gone = self.processes.remove(&pid);
        self.ranges -= gone.as_ref().map_or(0, Tagged::ranges);
        gone.is_some()
    }

    /// What the process has tagged; `None` if nothing.
    pub fn get(&self, pid: u32) -> Option<&Tagged> {
        self.processes.get(&pid)
    }

    /// All processes with tags; in no order.
    pub fn processes(&self) -> impl Iterator<Item = &Tagged> {
        self.processes.values()
    }

    /// Ranges of all processes together, as entries of the kernel's table.
    pub fn ranges(&self) -> usize {
        self.ranges
    }
}

/// The whole pages that `length` bytes from `start` lie in.
fn pages(start: u64, length: u64) -> Result<(u64, u64), TagError> {
    if length == 0 {
        return Err(TagError::Empty { start });
    }
    if length > LENGTH_MAX {
        return Err(TagError::TooLong {
            length,
            limit: LENGTH_MAX,
        });
    }
    let end = start
        .checked_add(length)
        .filter(|&end| end <= USER_END)
        .ok_or(TagError::Beyond { start, length })?;
    Ok((start & !(PAGE - 1), end.next_multiple_of(PAGE)))
}

fn check_label(label: &str) -> Result<(), TagError> {
    let bad = if label.is_empty() {
        Some("is empty".to_owned())
    } else if label.len() > LABEL_MAX {
        Some(format!("has {} bytes", label.len()))
    } else {
        label
            .chars()
            .find(|c| c.is_control())
            .map(|c| format!("contains the control character {c:?}"))
    };
    match bad {
        None => Ok(()),
        Some(problem) => Err(TagError::Label {
            problem,
            limit: LABEL_MAX,
        }),
    }
}

#[cfg(test)]
mod tests;
