//! What to send to one target, and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Alert, Board};
use crate::policy::MonoTime;

/// Alarms kept for a target at once. More units than that in alarm have one cause, which the others tell.
const KEPT: usize = 512;
/// Alarms in one message.
const BATCH: usize = 64;
/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What the target has been told of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// That it is on, last at this time.
    On(MonoTime),
    /// That it is over; kept so that it is not told again.
    Over,
}

#[derive(Clone, Debug)]
struct Entry {
    alert: Arc<Alert>,
    told: Told,
}

/// The next thing to do for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these; some may be over.
    Send(Vec<Arc<Alert>>),
    /// Nothing before this time; with `None`, nothing before there is news.
    Wait(Option<MonoTime>),
}

/// Something to be logged, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The target does not take anything.
    Down,
    /// It does again, after this many tries that failed.
    Up(u32),
    /// There are more alarms than are kept; this many were left out since the last such note.
    TooMany(usize),
}

/// Deliveries to one target. Each alarm is told as on and as over, once each, in that order; what is over before the
/// target could be told that it was on is told as over only.
#[derive(Debug)]
pub struct Delivery {
    /// Alarms that are on are told again after this time; `None`: never.
    repeat: Option<Duration>,
    batch: usize,
    entries: BTreeMap<String, Entry>,
    failures: u32,
    not_before: Option<MonoTime>,
}

impl Delivery {
    /// For a target that forgets what it is not reminded of, such as Alertmanager.
    pub fn repeating(every: Duration) -> Self {
        Self::new(Some(every), BATCH)
    }

    /// For a target that takes `batch` alarms at once and remembers them.
    pub fn once(batch: usize) -> Self {
        Self::new(None, batch)
    }

    fn new(repeat: Option<Duration>, batch: usize) -> Self {
        Self {
            repeat,
            batch,
            entries: BTreeMap::new(),
            failures: 0,
            not_before: None,
        }
    }

    /// Takes news over.
    pub fn update(&mut self, board: &Board, now: MonoTime) -> Option<Note> {
        let mut left_out = 0;
        let mut seen = BTreeSet::new();
        for alert in board.alerts() {
            seen.insert(alert.id.as_str());
            if let Some(entry) = self.entries.get_mut(&alert.id) {
                entry.alert = Arc::clone(alert);
            } else if self.open() < KEPT {
                let entry = Entry {
                    alert: Arc::clone(alert),
                    told: Told::Nothing,
                };
                self.entries.insert(alert.id.clone(), entry);
            } else {
                left_out += 1;
            }
        }
        // So many alarms ended since the last look that the board has forgotten this one.
        for (_, entry) in self
            .entries
            .iter_mut()
            .filter(|(id, _)| !seen.contains(id.as_str()))
        {
            if entry.alert.over.is_none() {
                Arc::make_mut(&mut entry.alert).over = Some(now);
            }
        }
        // What is over and told is remembered as long as the board could bring it up again.
        self.entries
            .retain(|id, entry| entry.told != Told::Over || seen.contains(id.as_str()));
        (left_out > 0).then_some(Note::TooMany(left_out))
    }

    /// Alarms of which something remains to be told, now or later.
    fn open(&self) -> usize {
        self.entries
            .values()
            .filter(|entry| entry.told != Told::Over)
            .count()
    }

    /// What to do at `now`.
    pub fn next(&self, now: MonoTime) -> Step {
        let waiting = self.not_before.filter(|&time| now < time);
        let mut due: Vec<(MonoTime, &Entry)> = self
            .entries
            .values()
            .filter_map(|entry| Some((self.due(entry)?, entry)))
            .collect();
        due.sort_by_key(|(time, entry)| (*time, entry.alert.since));
        let Some(&(first, _)) = due.first() else {
            return Step::Wait(None);
        };
        if waiting.is_some() || first > now {
            return Step::Wait(Some(waiting.unwrap_or(first).max(first)));
        }
        let batch = due.iter().take_while(|(time, _)| *time <= now);
        Step::Send(
            batch
                .take(self.batch)
                .map(|(_, entry)| Arc::clone(&entry.alert))
                .collect(),
        )
    }

    /// When something is to be told of an alarm; `None` if nothing is.
    fn due(&self, entry: &Entry) -> Option<MonoTime> {
        match (entry.told, entry.alert.over) {
            (Told::Over, _) => None,
            (_, Some(over)) => Some(over),
            (Told::Nothing, None) => Some(entry.alert.since),
            (Told::On(at), None) => Some(at.after(self.repeat?)),
        }
    }

    /// The target has taken `alerts`, as they were when [`Self::next`] gave them.
    pub fn sent(&mut self, alerts: &[Arc<Alert>], now: MonoTime) -> Option<Note> {
        for alert in alerts {
            if let Some(entry) = self.entries.get_mut(&alert.id) {
                entry.told = if alert.over.is_some() {
                    Told::Over
                } else {
                    Told::On(now)
                };
            }
        }
        self.not_before = None;
        let failures = std::mem::take(&mut self.failures);
        (failures > 0).then_some(Note::Up(failures))
    }

    /// The target has not taken what it was sent. It is asked again later, with what there is then.
    pub fn failed(&mut self, now: MonoTime) -> Option<Note> {
        let doublings = self.failures.min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        self.not_before = Some(now.after(pause));
        self.failures = self.failures.saturating_add(1);
        (self.failures == 1).then_some(Note::Down)
    }

    /// The target has said that it will never take `alerts`: they are given up, and others are told.
    pub fn refused(&mut self, alerts: &[Arc<Alert>], now: MonoTime) -> Option<Note> {
        self.sent(alerts, now)
    }

    /// Nothing remains to be told now: everything is over and told, or on and told.
    pub fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| match entry.told {
            Told::Over => true,
            Told::On(_) => entry.alert.over.is_none(),
            Told::Nothing => false,
        })
    }
}
