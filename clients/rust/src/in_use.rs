//! A model that is protected while it is used, and a while longer.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use log::warn;

use crate::{
    buffers::Buffers,
    fork::PerProcess,
    guard::{Guard, Status, Unusable, advise_cold},
    mm::Cold,
    process::{Process, lock, process},
};

/// Locks and registers a model during inference, and lets it go when it has been idle for a time.
///
/// ```
/// use std::time::Duration;
///
/// let model = memmon_client::InUse::new(vec![0u8; 100_000], "model", Duration::from_secs(60))?;
/// let weights = model.enter();
/// assert_eq!(weights.len(), 100_000);
/// # Ok::<(), memmon_client::Unusable>(())
/// ```
///
/// The first use after an idle time locks the model and brings it in; those that follow cost a microsecond. A lock
/// that is refused does not fail the use. A model that moves its buffers through interior mutability loses its
/// protection until it was idle once. In a forked child it is idle at first, whoever uses it in the parent.
#[derive(Debug)]
pub struct InUse<M: Buffers + Send + Sync + 'static> {
    shared: Arc<Shared<M>>,
}

struct Shared<M> {
    // Before the model: dropped first, while its memory is still there.
    state: PerProcess<Mutex<State>>,
    label: String,
    idle: Duration,
    cold: bool,
    model: M,
}

#[derive(Default)]
struct State {
    users: usize,
    last_use: Option<Instant>,
    /// `None` while idle.
    guard: Option<Guard<'static>>,
}

/// The model, protected for as long as this lives.
#[derive(Debug)]
#[must_use = "the use ends when this is dropped"]
pub struct Use<'a, M: Buffers + Send + Sync + 'static> {
    model: &'a InUse<M>,
    /// Which began it.
    process: &'static Process,
}

impl<M: Buffers + Send + Sync + 'static> InUse<M> {
    /// Takes a model. Protects it once, to find out whether that can be done at all, and lets it go.
    ///
    /// `idle` is how long after the last use it is let go.
    ///
    /// # Errors
    /// If the model has no bytes or the label is unusable.
    pub fn new(model: M, label: &str, idle: Duration) -> Result<Self, Unusable> {
        drop(crate::guard::protect(&model, label)?);
        Ok(Self {
            shared: Arc::new(Shared {
                state: PerProcess::new(),
                label: label.to_owned(),
                idle,
                cold: false,
                model,
            }),
        })
    }

    /// Has it become the first to be reclaimed when it is let go.
    #[must_use]
    pub fn cold_when_idle(mut self) -> Self {
        // Nobody else has it yet: it is handed out by reference only, and this takes it by value.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.cold = true;
        }
        self
    }

    /// Begins a use. A thread that comes second waits until the first has locked the model.
    pub fn enter(&self) -> Use<'_, M> {
        let shared = &*self.shared;
        let mut state = lock(shared.state.get());
        if state.guard.is_none() {
            let mut regions = Vec::new();
            shared.model.regions(&mut regions);
            match Guard::new(&regions, &shared.label) {
                Ok(guard) => state.guard = Some(guard),
                Err(error) => warn!("{:?} is used unprotected: {error}", shared.label),
            }
        }
        state.users += 1;
        drop(state);
        Use {
            model: self,
            process: process(),
        }
    }

    /// What protects it now; `None` while it is idle.
    pub fn status(&self) -> Option<Status> {
        lock(self.shared.state.get()).guard.as_ref().map(Guard::status)
    }

    /// The pages that are protected now; none while it is idle.
    pub fn ranges(&self) -> Vec<crate::PageRange> {
        let state = lock(self.shared.state.get());
        state
            .guard
            .as_ref()
            .map_or_else(Vec::new, |guard| guard.ranges().to_vec())
    }

    /// Lets it go now, if nobody uses it.
    pub fn release(&self) {
        let mut state = lock(self.shared.state.get());
        if state.users == 0 {
            state.guard = None;
        }
    }

    /// The model, whether protected or not.
    pub fn model(&self) -> &M {
        &self.shared.model
    }
}

impl<M: Buffers + Send + Sync + 'static> Deref for Use<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model.shared.model
    }
}

impl<M: Buffers + Send + Sync + 'static> Drop for Use<'_, M> {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // A forked child's copy: the use is one of its parent.
            return;
        }
        let shared = &self.model.shared;
        let mut state = lock(shared.state.get());
        state.users = state.users.saturating_sub(1);
        state.last_use = Some(Instant::now());
        let idle = state.users == 0;
        drop(state);
        if idle {
            let of_any_kind: Arc<dyn Idle> = Arc::<Shared<M>>::clone(shared);
            process().keeper.watch(&of_any_kind);
        }
    }
}

/// Something the keeper looks after.
trait Idle: Send + Sync {
    /// Lets go if it has been idle for long enough; otherwise says when it will have been.
    fn release_if_due(&self, now: Instant) -> Option<Instant>;
}

impl<M: Buffers + Send + Sync> Idle for Shared<M> {
    fn release_if_due(&self, now: Instant) -> Option<Instant> {
        let mut state = lock(self.state.get());
        if state.users > 0 || state.guard.is_none() {
            return None;
        }
        let due = state.last_use?.checked_add(self.idle)?;
        if now < due {
            return Some(due);
        }
        let guard = state.guard.take();
        drop(guard);
        if self.cold {
            advise_cold(&RegionsOf(&self.model), Cold::First);
        }
        None
    }
}

/// For a model behind a reference.
struct RegionsOf<'a, M>(&'a M);

impl<M: Buffers> Buffers for RegionsOf<'_, M> {
    fn regions(&self, found: &mut Vec<crate::Region>) {
        self.0.regions(found);
    }
}

/// One thread for all models: sleeps until the first of them may have been idle for long enough.
#[derive(Default)]
pub(crate) struct Keeper {
    watched: Mutex<Watched>,
    changed: Condvar,
}

#[derive(Default)]
struct Watched {
    models: Vec<Weak<dyn Idle>>,
    running: bool,
}

impl Keeper {
    /// Looks after a model until it has been let go.
    fn watch(&'static self, model: &Arc<dyn Idle>) {
        let mut watched = lock(&self.watched);
        let known = |one: &Weak<dyn Idle>| one.ptr_eq(&Arc::downgrade(model));
        if watched.models.iter().any(known) {
            // The thread looks at the time of the last use when it wakes up.
            return;
        }
        watched.models.push(Arc::downgrade(model));
        if !watched.running {
            let spawned = thread::Builder::new()
                .name("memmon-idle".to_owned())
                .spawn(|| self.run());
            match spawned {
                Ok(_) => watched.running = true,
                Err(error) => warn!("models stay protected: no thread to let them go: {error}"),
            }
        }
        self.changed.notify_one();
    }

    fn run(&self) {
        let mut next: Option<Instant> = None;
        loop {
            let mut watched = lock(&self.watched);
            if watched.models.is_empty() || next.is_some_and(|due| due > Instant::now()) {
                let timeout = next.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
                let waited = self.changed.wait_timeout(watched, timeout);
                watched = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            // Taken out before they are looked at: a use that ends meanwhile puts its model back.
            let models = std::mem::take(&mut watched.models);
            drop(watched);
            let mut kept = Vec::new();
            next = None;
            for weak in models {
                let Some(model) = weak.upgrade() else { continue };
                if let Some(due) = model.release_if_due(Instant::now()) {
                    next = Some(next.map_or(due, |next| next.min(due)));
                    kept.push(weak);
                }
            }
            let mut watched = lock(&self.watched);
            if !watched.models.is_empty() {
                next = None;
            }
            kept.retain(|one| !watched.models.iter().any(|other| other.ptr_eq(one)));
            watched.models.append(&mut kept);
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InUse")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}
