//! What a service owes its manager: READY, WATCHDOG, RELOADING, STOPPING.

use std::{cell::Cell, time::Duration};

use sd_notify::NotifyState;

use super::now;
use crate::policy::MonoTime;

/// The connection to the service manager; does nothing where there is none.
pub(super) struct Service {
    /// Half of `WatchdogSec=`; `None` without a watchdog.
    period: Option<Duration>,
    last: Cell<MonoTime>,
}

impl Service {
    pub(super) fn new() -> Self {
        let period = sd_notify::watchdog_enabled().map(|timeout| timeout / 2);
        Self {
            period,
            last: Cell::new(now()),
        }
    }

    fn notify(states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!("telling the service manager: {error}");
        }
    }

    pub(super) fn ready(&self) {
        Self::notify(&[NotifyState::Ready]);
    }

    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(time) => Self::notify(&[NotifyState::Reloading, time]),
            Err(_) => Self::notify(&[NotifyState::Reloading]),
        }
    }

    pub(super) fn stopping(&self) {
        Self::notify(&[NotifyState::Stopping]);
    }

    /// When the watchdog wants to hear from us.
    pub(super) fn next_beat(&self) -> Option<MonoTime> {
        Some(self.last.get().after(self.period?))
    }

    /// Tells the watchdog that the loop runs, if it is time.
    pub(super) fn beat(&self) {
        if self.next_beat().is_some_and(|beat| beat <= now()) {
            self.last.set(now());
            Self::notify(&[NotifyState::Watchdog]);
        }
    }
}
