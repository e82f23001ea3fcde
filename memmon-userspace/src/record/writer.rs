//! The thread that writes: nothing it waits for can hold the agent up.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Event, History, Keep, ResourceForecast, Store, StoreError, Tick, WINDOW};

/// Entries that may wait for the disk. A tick of 500 units is about 50 KiB.
const WAITING: usize = 64;
/// After an error the disk is left alone for so long.
const RETRY: Duration = Duration::from_secs(30);
/// How long the end waits for the last entries.
const LAST: Duration = Duration::from_secs(2);
/// No two forecasts closer than this, however often samples are taken.
const FORECASTS: Duration = Duration::from_secs(20);
/// Of the time, forecasts take at most a part: 1/100.
const PART: u32 = 100;
/// How much the thread gives way to the reaction.
const NICE: i32 = 5;

/// When things will be used up; `None`: nothing is stored at present, so nobody can tell.
pub type Forecasts = Option<Arc<[ResourceForecast]>>;

/// Something to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// What was measured.
    Tick(Tick),
    /// What happened.
    Event(Event),
}

/// How the writing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecorderState {
    /// Why nothing is stored at present, in words; `None`: all is well.
    pub failing: Option<String>,
    /// Entries that were not stored since the start.
    pub dropped: u64,
    /// Entries that were.
    pub written: u64,
}

/// Hands entries to the thread that writes them.
#[derive(Debug)]
pub struct Recorder {
    sender: Option<SyncSender<Entry>>,
    forecasts: Receiver<Forecasts>,
    state: Arc<Mutex<RecorderState>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the thread. The file is opened there; that it cannot be is seen in [`Self::state`].
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(path: PathBuf, keep: Keep) -> std::io::Result<Self> {
        let (sender, entries) = sync_channel(WAITING);
        let (to_tell, forecasts) = sync_channel(WAITING);
        let state = Arc::new(Mutex::new(RecorderState::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("memmon-history".into())
            .spawn(move || Writer::new(path, keep, shared, to_tell).run(&entries))?;
        Ok(Self {
            sender: Some(sender),
            forecasts,
            state,
            thread: Some(thread),
        })
    }

    /// Hands over one entry; drops it, and counts that, if the disk does not keep up. Never waits.
    pub fn put(&self, entry: Entry) {
        let Some(sender) = &self.sender else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(entry) {
            lock(&self.state).dropped += 1;
        }
    }

    /// The newest forecasts since the last call, if there are any; made after a sample, at most every
    /// 20 seconds. Never waits.
    pub fn forecasts(&self) -> Option<Forecasts> {
        self.forecasts.try_iter().last()
    }

    /// How it goes.
    pub fn state(&self) -> RecorderState {
        lock(&self.state).clone()
    }
}

impl Drop for Recorder {
    /// Lets the thread write what waits; a disk that hangs is not waited for.
    fn drop(&mut self) {
        self.sender = None;
        let deadline = Instant::now() + LAST;
        while let Some(thread) = self.thread.take_if(|_| Instant::now() < deadline) {
            if thread.is_finished() {
                let _ = thread.join();
                return;
            }
            self.thread = Some(thread);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn lock(state: &Mutex<RecorderState>) -> std::sync::MutexGuard<'_, RecorderState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    path: PathBuf,
    keep: Keep,
    state: Arc<Mutex<RecorderState>>,
    store: Option<Store>,
    not_before: Option<Instant>,
    to_tell: SyncSender<Forecasts>,
    /// For reading, beside the store.
    history: Option<History>,
    next_forecast: Option<Instant>,
}

impl Writer {
    fn new(
        path: PathBuf,
        keep: Keep,
        state: Arc<Mutex<RecorderState>>,
        to_tell: SyncSender<Forecasts>,
    ) -> Self {
        Self {
            path,
            keep,
            state,
            store: None,
            not_before: None,
            to_tell,
            history: None,
            next_forecast: None,
        }
    }

    fn run(mut self, entries: &Receiver<Entry>) {
        // On Linux niceness is a thread's own (setpriority(2), BUGS).
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
            tracing::debug!("the thread for history has the priority of the reaction: {error}");
        }
        // Opened at once, so that a problem is known before the first tick.
        self.reopen();
        loop {
            match entries.recv_timeout(Duration::from_secs(3600)) {
                Ok(entry) => self.write(&entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, entry: &Entry) {
        if self.store.is_none() && self.not_before.is_none_or(|at| Instant::now() >= at) {
            self.reopen();
        }
        let result = match (&mut self.store, entry) {
            (None, _) => {
                lock(&self.state).dropped += 1;
                return;
            }
            (Some(store), Entry::Tick(tick)) => store.tick(tick),
            (Some(store), Entry::Event(event)) => store.event(event),
        };
        match result {
            Ok(()) => {
                lock(&self.state).written += 1;
                if let Entry::Tick(tick) = entry {
                    self.look_ahead(tick);
                }
            }
            Err(error) => {
                // Whoever sees that something was dropped sees why.
                self.failed(&error);
                lock(&self.state).dropped += 1;
            }
        }
    }

    fn reopen(&mut self) {
        match Store::open(&self.path, self.keep) {
            Ok(store) => {
                self.store = Some(store);
                self.not_before = None;
                if lock(&self.state).failing.take().is_some() {
                    tracing::info!("history is stored again in {}", self.path.display());
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Forecasts from what is stored by now.
    fn look_ahead(&mut self, tick: &Tick) {
        let begin = Instant::now();
        if self.next_forecast.is_some_and(|at| begin < at) {
            return;
        }
        let told = |error: StoreError| tracing::warn!("there is no forecast: {error}");
        if self.history.is_none() {
            self.history = History::open(&self.path).map_err(told).ok();
        }
        let made = self.history.as_ref().and_then(|history| {
            let made = history.forecasts(tick.at - WINDOW, tick.at + 1, None, tick.swap_total);
            made.map_err(told).ok()
        });
        self.tell(made.map(Arc::from));
        self.next_forecast = Some(Instant::now() + FORECASTS.max(begin.elapsed() * PART));
    }

    /// A loop that does not listen is not waited for.
    fn tell(&self, forecasts: Forecasts) {
        let _ = self.to_tell.try_send(forecasts);
    }

    /// Said once per change, not once per entry.
    fn failed(&mut self, error: &StoreError) {
        self.store = None;
        self.history = None;
        self.tell(None);
        self.not_before = Some(Instant::now() + RETRY);
        let text = error.to_string();
        let mut state = lock(&self.state);
        if state.failing.as_ref() != Some(&text) {
            tracing::warn!("no history is stored for now, everything else goes on: {text}");
            state.failing = Some(text);
        }
    }
}
