//! Bringing changed tags into force, and telling those who wait for it.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Owner;
use crate::{
    attribute::unit_name,
    decode::process,
    export::dbus::{Found, Refused},
    runtime::agent::tags::{News, publish::NotPublished},
};

/// How often the kernel's table may be found full, once every 50 ms, before the caller is told.
const FULL: u32 = 20;
/// After tags were not taken, when it is tried again to bring those into force that there were before.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// The tags of a process that the kernel does not know yet.
pub(super) struct Waiting {
    pub(super) not_before: Instant,
    /// How often the table was full.
    pub(super) full: u32,
    /// Tags that were taken away are still in force, and whoever did it knows that it failed.
    pub(super) stale: bool,
    pub(super) answers: Vec<Answer>,
}

impl Waiting {
    pub(super) fn until(not_before: Instant) -> Self {
        Self {
            not_before,
            full: 0,
            stale: false,
            answers: Vec::new(),
        }
    }
}

/// Who waits until a tag is in force, or not any more.
pub(super) struct Answer {
    pub(super) id: u64,
    /// It is a new tag.
    pub(super) tags: bool,
    pub(super) to: oneshot::Sender<Result<u64, Refused>>,
}

impl Owner {
    /// Brings changed tags into force and answers those who wait for it.
    pub(super) async fn publish(&mut self, now: Instant) {
        let due: Vec<u32> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.not_before <= now)
            .map(|(pid, _)| *pid)
            .collect();
        for pid in due {
            let Some(process) = self.tags.get(pid) else {
                self.waiting.remove(&pid);
                continue;
            };
            let key = process.key.clone();
            let result = match self.kernel.publish(process) {
                Err(NotPublished::Later(pause)) => {
                    self.wait(pid, now + pause);
                    continue;
                }
                Err(NotPublished::Full(pause, why)) => {
                    let waiting = self.wait(pid, now + pause);
                    waiting.full += 1;
                    if waiting.full < FULL {
                        continue;
                    }
                    Err(Refused::Full(why))
                }
                Err(NotPublished::Failed(why)) => Err(Refused::Kernel(why)),
                Ok(()) => Ok(()),
            };
            // If it ended, or executed another program, before the tags came into force, the kernel has not taken
            // them away with it.
            let Some(found) = self.held.get(&pid).and_then(|held| held.now(&key)) else {
                self.tags.forget(pid);
                self.let_go(pid).await;
                continue;
            };
            match result {
                Ok(()) => self.in_force(pid),
                Err(refused) => self.not_in_force(pid, now, &refused).await,
            }
            self.moved(pid, &found).await;
        }
    }

    pub(super) fn wait(&mut self, pid: u32, until: Instant) -> &mut Waiting {
        let waiting = self.waiting.entry(pid).or_insert_with(|| Waiting::until(until));
        waiting.not_before = until;
        waiting
    }

    /// The tags of a process are in force as they are.
    fn in_force(&mut self, pid: u32) {
        if let Some(held) = self.held.get_mut(&pid) {
            let now: Vec<u32> = held.labels.iter().map(|label| label.number).collect();
            let before = std::mem::replace(&mut held.counted, now);
            if before.iter().any(|label| !held.counted.contains(label)) {
                // Those are counted for the last time.
                self.count();
            }
        }
        let waiting = self.waiting.remove(&pid);
        for Answer { id, to, .. } in waiting.into_iter().flat_map(|waiting| waiting.answers) {
            drop(to.send(Ok(id)));
        }
    }

    /// The tags of a process did not come into force. Whoever has tagged is told, so those tags are not there; what
    /// was there before is brought into force again, without tags that were taken away.
    async fn not_in_force(&mut self, pid: u32, now: Instant, refused: &Refused) {
        let Some(waiting) = self.waiting.remove(&pid) else {
            return;
        };
        if !waiting.answers.is_empty() {
            tracing::error!("process {pid}: {refused}");
        }
        if waiting.stale || waiting.answers.iter().any(|answer| !answer.tags) {
            self.wait(pid, now + AGAIN).stale = true;
        }
        let key = self.tags.get(pid).map(|process| process.key.clone());
        for Answer { id, tags, to } in waiting.answers {
            if let Some(key) = key.as_ref().filter(|_| tags) {
                // Untagged since by another thread.
                let _ = self.tags.untag(key, id);
            }
            drop(to.send(Err(refused.clone())));
        }
        if self.tags.get(pid).is_some() {
            self.tell_labels(pid).await;
        } else {
            self.let_go(pid).await;
        }
    }

    /// The process may be in another unit by now.
    pub(super) async fn moved(&mut self, pid: u32, found: &Found) {
        let Some(held) = self.held.get_mut(&pid) else {
            return;
        };
        let unit = unit_of(&found.cgroups, self.tree.hierarchy);
        if unit != held.unit {
            held.unit.clone_from(&unit);
            let labels = held.labels.clone();
            self.tell(News::Labels { pid, unit, labels }).await;
        }
    }

    /// Finds processes that were moved to another unit.
    pub(super) async fn look_where_they_are(&mut self) {
        let found: Vec<(u32, Found)> = self
            .tags
            .processes()
            .filter_map(|process| {
                let pid = process.key.pid;
                Some((pid, self.held.get(&pid)?.now(&process.key)?))
            })
            .collect();
        for (pid, found) in found {
            self.moved(pid, &found).await;
        }
    }
}

/// The unit that a process with this `/proc/PID/cgroup` is in.
pub(super) fn unit_of(cgroups: &str, hierarchy: u32) -> String {
    let cgroup = process::cgroup(cgroups, hierarchy, "memory").unwrap_or_default();
    unit_name::owner_of(&cgroup).unit.to_owned()
}
