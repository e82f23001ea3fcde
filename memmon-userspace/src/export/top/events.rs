//! What happened, newest first.

use std::{collections::VecDeque, time::Duration};

use super::model::Moment;

/// Events that are kept.
const KEPT: usize = 500;
/// Swap-outs of the same units within this time are one event that grows.
const GROWS: Duration = Duration::from_secs(10);
/// So far back such an event is looked for.
const NEAR: usize = 12;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Good to know.
    Plain,
    /// Something was changed, or is not as it should be.
    Notable,
    /// An alarm.
    Alarm,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// Time of day, UTC.
    pub(super) at: String,
    pub(super) weight: Weight,
    pub(super) text: String,
    grows: Option<Growing>,
}

/// Pages that went the same way.
#[derive(Clone, Debug)]
struct Growing {
    /// Whose, by whom.
    what: String,
    pages: u64,
    since: Duration,
}

/// The events of this session.
#[derive(Debug, Default)]
pub(super) struct Events {
    newest_first: VecDeque<Event>,
}

impl Events {
    pub(super) fn push(&mut self, now: &Moment, weight: Weight, text: String) {
        self.add(now, weight, text, None);
    }

    /// Tells that `pages` more went out as `what` says; grows the last event that says the same.
    pub(super) fn swapped(&mut self, now: &Moment, pages: u64, what: String) {
        let recent = self.newest_first.iter_mut().take(NEAR).find_map(|event| {
            let growing = event.grows.as_mut()?;
            let same = growing.what == what && now.up.saturating_sub(growing.since) < GROWS;
            same.then_some((growing, &mut event.text))
        });
        if let Some((growing, text)) = recent {
            growing.pages = growing.pages.saturating_add(pages);
            *text = swapped_text(growing.pages, &what);
            return;
        }
        let text = swapped_text(pages, &what);
        let since = now.up;
        self.add(now, Weight::Plain, text, Some(Growing { what, pages, since }));
    }

    fn add(&mut self, now: &Moment, weight: Weight, text: String, grows: Option<Growing>) {
        self.newest_first.push_front(Event {
            at: now.time_of_day.clone(),
            weight,
            text,
            grows,
        });
        self.newest_first.truncate(KEPT);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.newest_first.iter()
    }
}

fn swapped_text(pages: u64, what: &str) -> String {
    format!(
        "swapped out {pages} {} {what}",
        if pages == 1 { "page" } else { "pages" }
    )
}
