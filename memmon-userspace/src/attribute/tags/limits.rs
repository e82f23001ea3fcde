//! How much may be tagged, by whom, and whether there is room.

use super::{TagError, Tagged, Tags};

/// How much may be tagged.
///
/// Ranges are entries of the kernel's table, which is larger than all of them: what replaces a process's ranges is
/// in it beside them for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tags of one process. Those of one buffer each overlap and merge, so there may be more than ranges.
    pub tags_per_process: usize,
    /// Ranges of one process, after merging.
    pub ranges_per_process: usize,
    /// Ranges of all processes of one user other than root.
    pub ranges_per_user: usize,
    /// Labels of one process.
    pub labels_per_process: usize,
    /// Labels of all processes of one user other than root.
    pub labels_per_user: usize,
    /// Processes of one user other than root.
    pub processes_per_user: usize,
    /// Everybody's together.
    pub host: Total,
    /// Those of people ([`is_person`]) together: the rest is kept for services.
    pub people: Total,
}

/// Limits of many users together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Ranges.
    pub ranges: usize,
    /// Labels.
    pub labels: usize,
    /// Processes.
    pub processes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tags_per_process: 4096,
            ranges_per_process: 1024,
            ranges_per_user: 8192,
            labels_per_process: 256,
            labels_per_user: 1024,
            processes_per_user: 128,
            host: Total {
                ranges: 49_152,
                labels: 8192,
                processes: 1024,
            },
            people: Total {
                ranges: 32_768,
                labels: 4096,
                processes: 768,
            },
        }
    }
}

/// Whether the user is neither root nor one that a service runs as: users of the system, and those that systemd
/// makes for a service with `DynamicUser=` (systemd's UIDS-GIDS.md).
pub const fn is_person(uid: u32) -> bool {
    !matches!(uid, 0..=999 | 61_184..=65_519)
}

impl Tags {
    fn of_user(&self, uid: u32) -> impl Iterator<Item = &Tagged> {
        self.processes.values().filter(move |known| known.uid == uid)
    }

    fn of_people(&self) -> impl Iterator<Item = &Tagged> {
        self.processes.values().filter(|known| is_person(known.uid))
    }

    pub(super) fn check_room_for_process(&self, pid: u32, uid: u32) -> Result<(), TagError> {
        if self.processes.contains_key(&pid) {
            return Ok(());
        }
        let limit = self.limits.host.processes;
        if self.processes.len() >= limit {
            return Err(TagError::Processes { limit });
        }
        let limit = self.limits.people.processes;
        if is_person(uid) && self.of_people().count() >= limit {
            return Err(TagError::OfPeople {
                limit,
                what: "processes with tags",
            });
        }
        let limit = self.limits.processes_per_user;
        if uid != 0 && self.of_user(uid).count() >= limit {
            return Err(TagError::ProcessesOfUser { uid, limit });
        }
        Ok(())
    }

    /// Whether `after` ranges of a process of `uid` fit where `before` were.
    pub(super) fn check_room(&self, uid: u32, before: usize, after: usize) -> Result<(), TagError> {
        let limits = &self.limits;
        let with = |all: usize| all.saturating_sub(before) + after;
        let ranges_of = |known: &Tagged| known.ranges();
        if after > limits.ranges_per_process {
            return Err(TagError::Ranges {
                ranges: after,
                limit: limits.ranges_per_process,
            });
        }
        let limit = limits.ranges_per_user;
        if uid != 0 && with(self.of_user(uid).map(ranges_of).sum()) > limit {
            return Err(TagError::RangesOfUser { uid, limit });
        }
        let limit = limits.people.ranges;
        if is_person(uid) && with(self.of_people().map(ranges_of).sum()) > limit {
            return Err(TagError::OfPeople {
                limit,
                what: "ranges",
            });
        }
        let limit = limits.host.ranges;
        if with(self.ranges) > limit {
            return Err(TagError::AllRanges { limit });
        }
        Ok(())
    }

    pub(super) fn check_room_for_label(&self, pid: u32, uid: u32, label: &str) -> Result<(), TagError> {
        let labels_of = |known: &Tagged| known.labels.len();
        let known = self.get(pid);
        if known.is_some_and(|known| known.labels.contains_key(label)) {
            return Ok(());
        }
        let limit = self.limits.labels_per_process;
        if known.map_or(0, labels_of) >= limit {
            return Err(TagError::Labels { limit });
        }
        let limit = self.limits.labels_per_user;
        if uid != 0 && self.of_user(uid).map(labels_of).sum::<usize>() >= limit {
            return Err(TagError::LabelsOfUser { uid, limit });
        }
        let limit = self.limits.people.labels;
        if is_person(uid) && self.of_people().map(labels_of).sum::<usize>() >= limit {
            return Err(TagError::OfPeople {
                limit,
                what: "labels",
            });
        }
        let limit = self.limits.host.labels;
        if self.processes.values().map(labels_of).sum::<usize>() >= limit {
            return Err(TagError::AllLabels { limit });
        }
        Ok(())
    }
}
