//! Bringing back on a thread of its own, with what there is room for now.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot::{self, error::TryRecvError};

use super::Wanted;
use crate::{
    action::{
        bring_back::{self, BroughtBack},
        measure,
    },
    attribute::tags::Region,
    decode::{MemInfo, Pressure},
    policy,
    source::{cgroupfs::CgroupRoot, proc::Proc, process::ProcessHandle, process_memory::PageRun},
};

/// How long one may take. Reading another process's memory can hang in what that process has put there, such as a
/// mapping of a file system that it serves itself.
const DEADLINE: Duration = Duration::from_secs(60);
/// Threads that may hang, of one unit and in all. Beyond that nothing more is begun: each costs a stack.
const HUNG_OF_UNIT: usize = 2;
const HUNG: usize = 16;

/// One at a time: two would count on the same room.
#[derive(Default)]
pub(super) struct Fetching {
    running: Option<Running>,
    hung: Vec<Hung>,
}

struct Running {
    pid: u32,
    cgroup: String,
    outcome: oneshot::Receiver<BroughtBack>,
    deadline: Instant,
    cancel: Arc<AtomicBool>,
}

/// Nobody waits for it any more. Its end closes the channel.
struct Hung {
    cgroup: String,
    outcome: oneshot::Receiver<BroughtBack>,
}

impl Fetching {
    pub(super) const fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// Begins.
    ///
    /// # Errors
    /// If too many have hung, or there can be no further thread, in words.
    pub(super) fn begin(
        &mut self,
        wanted: Wanted,
        handle: ProcessHandle,
        regions: &[Region],
        mount: PathBuf,
    ) -> Result<(), String> {
        let Wanted { pid, cgroup } = wanted.clone();
        let runs: Vec<PageRun> = regions
            .iter()
            .map(|region| PageRun {
                start: region.start,
                pages: region.pages(),
            })
            .collect();
        self.start(pid, cgroup, DEADLINE, move |cancel| {
            let mut room = Room::new(mount, wanted.cgroup);
            bring_back::bring_back(handle, &runs, cancel, || room.now())
        })
    }

    fn start(
        &mut self,
        pid: u32,
        cgroup: String,
        deadline: Duration,
        fetch: impl FnOnce(&AtomicBool) -> BroughtBack + Send + 'static,
    ) -> Result<(), String> {
        self.hung
            .retain_mut(|hung| matches!(hung.outcome.try_recv(), Err(TryRecvError::Empty)));
        let of_unit = self.hung.iter().filter(|hung| hung.cgroup == cgroup).count();
        if of_unit >= HUNG_OF_UNIT || self.hung.len() >= HUNG {
            let all = self.hung.len();
            return Err(format!(
                "{of_unit} earlier tries in this unit, {all} in all, hang in memory of the processes"
            ));
        }
        let (answer, outcome) = oneshot::channel();
        let cancel = Arc::new(AtomicBool::new(false));
        let cancelled = Arc::clone(&cancel);
        // Not a thread of the runtime, which would wait for it when it ends.
        thread::Builder::new()
            .name("bring-back".to_owned())
            .spawn(move || drop(answer.send(fetch(&cancelled))))
            .map_err(|error| format!("starting a thread: {error}"))?;
        self.running = Some(Running {
            pid,
            cgroup,
            outcome,
            deadline: Instant::now() + deadline,
            cancel,
        });
        Ok(())
    }

    /// Waits for the end of what was begun, but not longer than it may take; for ever if nothing was. Cancel-safe.
    pub(super) async fn done(&mut self) -> (u32, BroughtBack) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let (pid, deadline) = (running.pid, running.deadline.into());
        let ended = tokio::time::timeout_at(deadline, &mut running.outcome).await;
        let running = self.running.take();
        let outcome = ended.map_or_else(
            |_| {
                if let Some(running) = running {
                    running.cancel.store(true, Ordering::Relaxed);
                    self.hung.push(Hung {
                        cgroup: running.cgroup,
                        outcome: running.outcome,
                    });
                }
                BroughtBack::not_tried("it took too long, and was given up".to_owned())
            },
            |ended| {
                ended.unwrap_or_else(|_| BroughtBack::not_tried("its thread ended without a word".to_owned()))
            },
        );
        (pid, outcome)
    }
}

/// Measures how much may come.
struct Room {
    mount: PathBuf,
    cgroup: String,
    root: Option<CgroupRoot>,
    /// The unit's pressure at the beginning.
    before: Option<(Instant, Pressure)>,
}

impl Room {
    fn new(mount: PathBuf, cgroup: String) -> Self {
        Self {
            mount,
            cgroup,
            root: None,
            before: None,
        }
    }

    fn now(&mut self) -> Result<u64, String> {
        if self.root.is_none() {
            let root = CgroupRoot::open(&self.mount);
            self.root = Some(root.map_err(|error| format!("the cgroup tree cannot be opened: {error}"))?);
        }
        let Some(root) = &self.root else {
            return Err("the cgroup tree cannot be opened".to_owned());
        };
        if let Some(pressure) = measure::pressure(root, &self.cgroup).ok().flatten() {
            let (since, before) = *self.before.get_or_insert((Instant::now(), pressure));
            if let Some(why) = policy::pressed(&before, &pressure, since.elapsed()) {
                return Err(why);
            }
        }
        let measured = measure::measure(root, &self.cgroup).map_err(|error| error.to_string())?;
        if !measured.below_complete {
            return Err(
                "there are more cgroups below the unit than could be looked at for limits".to_owned(),
            );
        }
        let text = Proc::default().meminfo().map_err(|error| error.to_string())?;
        let host = MemInfo::parse(&text).map_err(|error| error.to_string())?;
        policy::room(&measured.chain, &measured.below, &host)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn all_back() -> BroughtBack {
        BroughtBack {
            asked: 3,
            back: 3,
            still_out: 0,
            why: None,
        }
    }

    #[tokio::test]
    async fn what_hangs_is_given_up_and_no_more_than_two_of_a_unit() {
        let mut fetching = Fetching::default();
        let (end, ended) = mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        let hang = |fetching: &mut Fetching, cgroup: &str| {
            let ended = Arc::clone(&ended);
            fetching.start(7, cgroup.to_owned(), Duration::ZERO, move |_| {
                // Until the test lets it.
                let _ = ended.lock().expect("no panic").recv();
                all_back()
            })
        };
        for _ in 0..HUNG_OF_UNIT {
            hang(&mut fetching, "a.service").expect("few hang");
            let (pid, outcome) = fetching.done().await;
            assert_eq!((pid, outcome.back), (7, 0));
            assert!(outcome.why.expect("a reason").contains("took too long"));
            assert!(fetching.is_idle());
        }
        let why = hang(&mut fetching, "a.service").expect_err("two hang");
        assert!(why.starts_with("2 earlier tries in this unit"), "{why}");
        fetching
            .start(8, "b.service".to_owned(), DEADLINE, |_| all_back())
            .expect("another unit");
        assert_eq!(fetching.done().await, (8, all_back()));
        // They end after all, and no longer count.
        drop(end);
        while hang(&mut fetching, "a.service").is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_given_up_is_told_to_stop() {
        let mut fetching = Fetching::default();
        let (stopped, stop) = mpsc::channel();
        fetching
            .start(7, "a.service".to_owned(), Duration::ZERO, move |cancel| {
                while !cancel.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                stopped.send(()).expect("the test waits");
                all_back()
            })
            .expect("nothing hangs");
        assert_eq!(fetching.done().await.1.back, 0);
        stop.recv_timeout(Duration::from_secs(60)).expect("it stops");
    }
}
