//! The connection to the agent: one thread, which alone waits for the bus.
//!
//! Callers only change what should be registered and wake the thread, which keeps the agent's knowledge equal to it.

mod session;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use log::{info, warn};
use tokio::sync::Notify;

use crate::{pages::PageRange, process::lock, tag::TagState};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Where the bus is, if not where the environment says.
static BUS: Mutex<Option<String>> = Mutex::new(None);

/// Has this process look for the agent on another bus than the system's, from the next connection on.
///
/// `address` is a D-Bus address: `unix:path=/run/…`. For tests, and for hosts that have the bus elsewhere; else
/// `DBUS_SYSTEM_BUS_ADDRESS` is heeded.
pub fn use_bus(address: &str) {
    *lock(&BUS) = Some(address.to_owned());
}

/// All registrations of a process.
pub(crate) struct Agent {
    tables: Mutex<Tables>,
    /// A registration got another state.
    settled: Condvar,
    /// Something is to be sent.
    due: Notify,
}

#[derive(Default)]
struct Tables {
    running: bool,
    last: u64,
    tags: BTreeMap<u64, Tag>,
    /// Not sent yet. Empty while nobody is there.
    todo: BTreeSet<u64>,
    /// Refused for a limit, and when they are asked for again.
    limited: BTreeSet<u64>,
    ask_again: Option<Instant>,
    /// The agent's numbers. They outlive the connection, as the agent may.
    to_untag: VecDeque<u64>,
    /// Of those, what has been sent and not been answered.
    taking_back: BTreeSet<u64>,
    /// Those that were not taken back when it was tried, until `ask_again`.
    untag_later: Vec<u64>,
    /// Nothing is registered before the last session's are taken back: both at once may exceed a limit.
    clearing: bool,
    /// The agent's process, if the bus tells: another one knows nothing of what was registered.
    agent_pid: Option<u32>,
    /// How often an agent has come or gone: answers from before are worth nothing.
    epoch: u64,
    there: Presence,
    said_absent: bool,
    on_release: Option<fn(&str, u64)>,
}

#[derive(Default)]
enum Presence {
    #[default]
    Unknown,
    There,
    /// And why.
    Absent(String),
}

struct Tag {
    pages: PageRange,
    label: String,
    state: TagState,
    /// The agent's number for it.
    id: Option<u64>,
}

impl Agent {
    pub(crate) fn new() -> Self {
        Self {
            tables: Mutex::default(),
            settled: Condvar::new(),
            due: Notify::new(),
        }
    }

    /// Has the range registered as soon as that can be; does not wait for it. Returns a number for it.
    pub(crate) fn add(&'static self, pages: PageRange, label: &str) -> u64 {
        let mut tables = lock(&self.tables);
        tables.last += 1;
        let number = tables.last;
        let state = match &tables.there {
            Presence::Absent(why) => TagState::Not(why.clone()),
            Presence::Unknown => TagState::Waiting,
            Presence::There => {
                tables.todo.insert(number);
                TagState::Waiting
            }
        };
        let label = label.to_owned();
        let tag = Tag {
            pages,
            label,
            state,
            id: None,
        };
        tables.tags.insert(number, tag);
        self.wake(&mut tables);
        number
    }

    /// Takes registrations back.
    pub(crate) fn remove(&self, numbers: &[u64]) {
        let mut tables = lock(&self.tables);
        for number in numbers {
            tables.todo.remove(number);
            let id = tables.tags.remove(number).and_then(|tag| tag.id);
            tables.to_untag.extend(id);
        }
        drop(tables);
        self.due.notify_one();
    }

    /// How far these have come.
    pub(crate) fn states(&self, numbers: &[u64]) -> Vec<TagState> {
        let tables = lock(&self.tables);
        let tags = numbers.iter().filter_map(|number| tables.tags.get(number));
        tags.map(|tag| tag.state.clone()).collect()
    }

    /// Whether all are registered, waiting at most `timeout` for answers.
    pub(crate) fn wait(&self, numbers: &[u64], timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        loop {
            let tables = lock(&self.tables);
            let mut states = numbers
                .iter()
                .filter_map(|number| tables.tags.get(number).map(|tag| &tag.state));
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !states.clone().any(|state| *state == TagState::Waiting) {
                return states.all(|state| *state == TagState::Tagged);
            }
            let waited = self.settled.wait_timeout(tables, left);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Has `ReleaseRequested` told: unit and bytes, on the agent's thread.
    pub(crate) fn listen(&'static self, on_release: fn(&str, u64)) {
        let mut tables = lock(&self.tables);
        tables.on_release = Some(on_release);
        self.wake(&mut tables);
    }

    fn wake(&'static self, tables: &mut Tables) {
        if !tables.running {
            let spawned = thread::Builder::new()
                .name("memmon-agent".to_owned())
                .spawn(|| self.run());
            match spawned {
                Ok(_) => tables.running = true,
                Err(error) => {
                    tables.lose(format!(
                        "no thread for the connection to the memmon agent: {error}"
                    ));
                    self.settled.notify_all();
                }
            }
        }
        self.due.notify_one();
    }

    fn run(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                self.lose(format!(
                    "no runtime for the connection to the memmon agent: {error}"
                ));
                return;
            }
        };
        let mut retry = FIRST_RETRY;
        loop {
            let started = Instant::now();
            let address = lock(&BUS).clone();
            if let Err(error) = runtime.block_on(session::serve(self, address.as_deref())) {
                self.lose(format!("no connection to the system bus: {error}"));
            }
            if started.elapsed() > LAST_RETRY {
                retry = FIRST_RETRY;
            }
            thread::sleep(retry);
            retry = (retry * 2).min(LAST_RETRY);
            while !self.anything_to_do() {
                runtime.block_on(self.due.notified());
            }
        }
    }

    fn anything_to_do(&self) -> bool {
        let tables = lock(&self.tables);
        !tables.tags.is_empty() || !tables.to_untag.is_empty() || tables.on_release.is_some()
    }

    /// An agent is there, of this process.
    fn found(&self, pid: Option<u32>) {
        let mut tables = lock(&self.tables);
        tables.there = Presence::There;
        tables.epoch += 1;
        tables.keep_numbers();
        let before = std::mem::replace(&mut tables.agent_pid, pid);
        if before.is_some() && pid.is_some() && before != pid {
            tables.to_untag.clear();
        }
        tables.clearing = !tables.to_untag.is_empty();
        tables.todo = tables.tags.keys().copied().collect();
        for tag in tables.tags.values_mut() {
            tag.state = TagState::Waiting;
        }
        if std::mem::take(&mut tables.said_absent) {
            info!(
                "a memmon agent is running: registering {} regions",
                tables.todo.len()
            );
        }
        self.due.notify_one();
    }

    /// Has what was refused for a limit sent again; its state stays until there is another answer.
    fn ask_again(&self) {
        let mut tables = lock(&self.tables);
        let again = std::mem::take(&mut tables.limited);
        tables.forget_limits();
        let Tables { todo, tags, .. } = &mut *tables;
        todo.extend(again.into_iter().filter(|number| tags.contains_key(number)));
    }

    /// Nobody is there to register with.
    fn lose(&self, why: String) {
        lock(&self.tables).lose(why);
        self.settled.notify_all();
    }
}

impl Tables {
    fn forget_limits(&mut self) {
        self.limited.clear();
        self.to_untag.extend(self.untag_later.drain(..));
        self.ask_again = None;
    }

    /// Has all that this process has registered taken back in the next session, in case the agent still has it: it
    /// keeps tags when it loses the bus.
    fn keep_numbers(&mut self) {
        self.forget_limits();
        self.to_untag.extend(std::mem::take(&mut self.taking_back));
        let ids = self.tags.values_mut().filter_map(|tag| tag.id.take());
        self.to_untag.extend(ids);
    }

    fn lose(&mut self, why: String) {
        if !std::mem::replace(&mut self.said_absent, true) {
            warn!("{why}: memory is locked where allowed, but its regions are not registered");
        }
        self.epoch += 1;
        self.todo.clear();
        self.keep_numbers();
        for tag in self.tags.values_mut() {
            tag.state = TagState::Not(why.clone());
        }
        self.there = Presence::Absent(why);
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}
