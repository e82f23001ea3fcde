//! Giving memory back when the system or the agent asks for it, on a thread of its own.

use std::{
    fmt,
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, Weak},
    thread,
    time::Duration,
};

use log::{error, info};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::Errno,
};

use crate::{
    cgroup, mm,
    pressure::{self, Source},
    process::{lock, process},
};

type Callback = dyn Fn(Option<u64>) + Send + Sync;

/// Callbacks run at most this often, however often somebody asks.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is asked, and by whom.
#[derive(Default)]
pub(crate) struct Releaser {
    callbacks: Mutex<Vec<Weak<Callback>>>,
    /// Bytes that the agent has asked for since the callbacks last ran.
    asked: Mutex<Option<u64>>,
    wake: OnceLock<OwnedFd>,
    /// What is watched, once there is a thread that does.
    started: Mutex<Option<Result<PathBuf, String>>>,
}

/// Keeps a callback registered.
#[must_use = "the callback is forgotten when this is dropped"]
pub struct ReleaseHook {
    _callback: Arc<Callback>,
}

/// Has `callback` called whenever memory should be given back, and starts watching for that.
///
/// It gets the bytes the agent asked for, `None` for memory pressure, on a thread of this crate's own; a panic in it
/// is logged. `malloc_trim` runs after all callbacks, so that what they free reaches the kernel.
pub fn on_release(callback: impl Fn(Option<u64>) + Send + Sync + 'static) -> ReleaseHook {
    let callback: Arc<Callback> = Arc::new(callback);
    let process = process();
    lock(&process.releaser.callbacks).push(Arc::downgrade(&callback));
    process.releaser.start().ok();
    ReleaseHook { _callback: callback }
}

/// Starts watching, if [`on_release`] has not; a forked child calls this or that for itself.
///
/// Returns the file that tells of memory pressure. The agent's requests are heard in either case.
///
/// # Errors
/// In words: why memory pressure is not watched.
pub fn watch_pressure() -> Result<PathBuf, String> {
    process().releaser.start()
}

/// Runs all callbacks now, on this thread.
pub fn release_memory(bytes_wanted: Option<u64>) {
    process().releaser.run_callbacks(bytes_wanted);
}

impl Releaser {
    fn start(&'static self) -> Result<PathBuf, String> {
        let mut started = lock(&self.started);
        if let Some(path) = &*started {
            return path.clone();
        }
        // Without a descriptor or a thread, the next who asks tries again.
        let path = self.start_now()?;
        *started = Some(path.clone());
        path
    }

    /// # Errors
    /// If there is no thread; that there is nothing to watch is no error.
    fn start_now(&'static self) -> Result<Result<PathBuf, String>, String> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let wake = wake.map_err(|error| format!("eventfd: {error}"))?;
        let wake = self.wake.get_or_init(|| wake);
        let (path, source) = match pressure::open() {
            Ok(source) => (Ok(source.path.clone()), Some(source)),
            Err(why) => {
                info!("memory pressure is not watched: {why}");
                (Err(why), None)
            }
        };
        thread::Builder::new()
            .name("memmon-release".to_owned())
            .spawn(move || self.watch(wake, source))
            .map_err(|error| format!("no thread to release memory: {error}"))?;
        process().agent.listen(asked_by_agent);
        Ok(path)
    }

    fn watch(&self, wake: &OwnedFd, mut source: Option<Source>) {
        loop {
            let events = source.as_ref().map_or(PollFlags::empty(), |source| source.events);
            let pressure = source.as_ref().map_or(wake.as_fd(), AsFd::as_fd);
            let mut fds = [
                PollFd::new(wake, PollFlags::IN),
                PollFd::from_borrowed_fd(pressure, events),
            ];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => {
                    error!("memory is not released any more: poll: {error}");
                    return;
                }
            }
            let (woken, seen) = (fds[0].revents(), fds[1].revents());
            if woken.contains(PollFlags::IN) {
                // The counter's value means nothing, and it is there: poll has said so.
                rustix::io::read(wake, &mut [0; 8]).ok();
            }
            let gone = seen.intersects(PollFlags::ERR | PollFlags::NVAL);
            if source
                .as_ref()
                .is_some_and(|source| !seen.is_empty() && (gone || !source.discard()))
            {
                info!("memory pressure is not watched any more: its source is gone");
                source = None;
            }
            let asked = lock(&self.asked).take();
            self.run_callbacks(asked);
            thread::sleep(PAUSE);
        }
    }

    fn run_callbacks(&self, asked: Option<u64>) {
        let callbacks: Vec<Arc<Callback>> = {
            let mut known = lock(&self.callbacks);
            known.retain(|callback| callback.strong_count() > 0);
            known.iter().filter_map(Weak::upgrade).collect()
        };
        for callback in callbacks {
            if catch_unwind(AssertUnwindSafe(|| callback(asked))).is_err() {
                error!("a callback that should release memory has panicked");
            }
        }
        mm::malloc_trim();
    }
}

/// `ReleaseRequested`, for any unit.
fn asked_by_agent(unit: &str, bytes: u64) {
    if !cgroup::units().iter().any(|own| own == unit) {
        return;
    }
    let releaser = &process().releaser;
    let mut asked = lock(&releaser.asked);
    *asked = Some(asked.unwrap_or(0).max(bytes));
    drop(asked);
    if let Some(wake) = releaser.wake.get() {
        // Full: it will wake up anyway.
        rustix::io::write(wake, &1u64.to_ne_bytes()).ok();
    }
}

impl fmt::Debug for Releaser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releaser")
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReleaseHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseHook").finish_non_exhaustive()
    }
}
