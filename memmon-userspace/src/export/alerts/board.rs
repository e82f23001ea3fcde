//! What there is to tell.

use std::{collections::VecDeque, sync::Arc};

use crate::policy::{AlarmKind, MonoTime, Severity};

/// Alarms that are over and still on the board. A target that missed none of the last ones misses nothing.
const OVER: usize = 256;

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Alert {
    /// Names it for ever; the one on D-Bus.
    pub id: String,
    /// What it is about. An agent of an earlier version has kept none.
    #[serde(default)]
    pub kind: AlarmKind,
    /// What will be used up; `None` unless it is about a forecast.
    #[serde(default)]
    pub resource: Option<String>,
    /// The unit concerned; `(host)` is the host.
    pub unit: String,
    /// How bad it is.
    pub severity: Severity,
    /// What happened and why, in words.
    pub reason: String,
    /// Pages of the unit that went to swap: when it was raised, or, once it is over, in all.
    pub pages: u64,
    /// When it was raised.
    pub since: MonoTime,
    /// When it was over; `None` while it is on.
    pub over: Option<MonoTime>,
}

/// The alarms that are on, and the last ones that are over. Cheap to clone and to compare by id.
#[derive(Clone, Debug, Default)]
pub struct Board {
    on: Vec<Arc<Alert>>,
    over: VecDeque<Arc<Alert>>,
}

impl Board {
    /// What an earlier agent has left on, which nobody has watched since: it is over.
    pub fn after(left_on: Vec<Alert>, now: MonoTime) -> Self {
        let mut board = Self::default();
        for alert in left_on {
            board.raise(alert);
        }
        board.clear_all(now);
        board
    }

    /// Those that are on.
    pub fn on(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.on.iter()
    }

    /// An alarm was raised.
    pub fn raise(&mut self, alert: Alert) {
        self.on.push(Arc::new(alert));
    }

    /// An alarm is over after `pages` pages.
    pub fn clear(&mut self, id: &str, pages: u64, now: MonoTime) {
        let Some(at) = self.on.iter().position(|alert| alert.id == id) else {
            return;
        };
        let mut alert = Arc::unwrap_or_clone(self.on.swap_remove(at));
        alert.over = Some(now);
        alert.pages = pages;
        if self.over.len() == OVER {
            self.over.pop_front();
        }
        self.over.push_back(Arc::new(alert));
    }

    /// All of them are over: nobody watches any more.
    pub fn clear_all(&mut self, now: MonoTime) {
        let on: Vec<(String, u64)> = self
            .on
            .iter()
            .map(|alert| (alert.id.clone(), alert.pages))
            .collect();
        for (id, pages) in on {
            self.clear(&id, pages, now);
        }
    }

    /// Those that are over first, in the order in which that happened.
    pub fn alerts(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.over.iter().chain(&self.on)
    }
}
