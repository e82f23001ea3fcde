//! What the screen knows and what the user wants to see. Pure: time comes with each call.

use std::time::{Duration, SystemTime};

use ratatui::crossterm::event::KeyEvent;

use super::{
    document::{Report, Unit},
    events::{Events, Weight},
    keys::{self, Action, Command, Typed},
    look::Look,
    news::News,
    order::{self, Sort},
    rates::Rates,
    text::{self, Clean},
};
use crate::export::dbus::Heard;

/// Signals that are kept while the screen is paused.
const HELD: usize = 200;
/// Longer filters help nobody.
const FILTER: usize = 64;

/// A point in time.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Since the program started.
    pub(super) up: Duration,
    /// By the wall.
    pub(super) wall: SystemTime,
    /// UTC.
    pub(super) time_of_day: String,
}

impl Moment {
    /// `up` is the time since the program started.
    pub fn new(up: Duration, wall: SystemTime) -> Self {
        let text = humantime::format_rfc3339_seconds(wall).to_string();
        Self {
            up,
            wall,
            time_of_day: text::time_of_day(&text).to_owned(),
        }
    }

    /// How long ago a timestamp of the report was.
    pub(super) fn since(&self, timestamp: &Clean) -> Option<Duration> {
        let then = humantime::parse_rfc3339(timestamp.as_str()).ok()?;
        self.wall.duration_since(then).ok()
    }
}

/// A part of the screen that the user can turn to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Units,
    Blame,
    Unit,
    Events,
}

impl View {
    pub(super) const ALL: [(Self, &'static str); 4] = [
        (Self::Units, "1 Units"),
        (Self::Blame, "2 Blame"),
        (Self::Unit, "3 Unit"),
        (Self::Events, "4 Events"),
    ];

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|(view, _)| *view == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()].0
    }
}

/// A process of the unit that is looked at.
#[derive(Clone, Debug)]
pub struct Process {
    pub(super) pid: u32,
    pub(super) comm: Clean,
    /// Bytes in RAM; `None` if whoever asks may not know.
    pub(super) resident: Option<u64>,
    /// Bytes in swap.
    pub(super) swap: Option<u64>,
}

impl Process {
    /// From what `/proc/PID/status` says.
    pub fn new(pid: u32, comm: &str, resident: Option<u64>, swap: Option<u64>) -> Self {
        Self {
            pid,
            comm: Clean::new(comm),
            resident,
            swap,
        }
    }
}

/// The processes of one unit.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// Its name.
    pub unit: String,
    /// The processes.
    pub all: Vec<Process>,
    /// There are more than were read.
    pub cut: bool,
}

/// A position in a list, and how much of the list is seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scroll {
    /// The first line that is seen, or the selected one.
    pub(super) at: usize,
    /// Lines that there are.
    pub(super) lines: usize,
    /// Lines that fit.
    pub(super) room: usize,
}

impl Scroll {
    fn go(&mut self, to: isize) {
        self.at = usize::try_from(to).unwrap_or(0).min(self.lines.saturating_sub(1));
    }

    fn apply(&mut self, action: Action) {
        let signed = |value: usize| isize::try_from(value).unwrap_or(isize::MAX);
        let at = signed(self.at);
        match action {
            Action::Move(by) => self.go(at.saturating_add(by)),
            Action::Page(by) => self.go(at.saturating_add(by * signed(self.room.max(2) - 1))),
            Action::First => self.go(0),
            Action::Last => self.go(isize::MAX),
            _ => {}
        }
    }

    /// Takes what was drawn over, so that the next key counts from there.
    pub(super) fn drawn(&mut self, lines: usize, room: usize) {
        self.lines = lines;
        self.room = room;
        self.at = self.at.min(lines.saturating_sub(1));
    }
}

/// The state of the screen.
#[derive(Debug)]
pub struct Model {
    pub(super) look: Look,
    pub(super) host: Clean,
    /// Between two reports.
    interval: Duration,
    pub(super) report: Option<Report>,
    /// When that came.
    pub(super) received: Option<Moment>,
    /// Why there are no reports at the moment, and since when.
    pub(super) lost: Option<(Moment, Clean)>,
    pub(super) rates: Rates,
    news: News,
    pub(super) events: Events,
    held: Vec<(Moment, Heard)>,
    pub(super) processes: Processes,
    pub(super) view: View,
    /// Where Escape leads to from the page of a unit.
    behind: View,
    pub(super) help: bool,
    pub(super) paused: bool,
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    pub(super) filter: String,
    /// The filter is being typed; this is the one before.
    pub(super) typing: Option<String>,
    /// The unit that the cursor is on: it stays on it when the order changes.
    pub(super) selected: Option<Clean>,
    pub(super) units: Scroll,
    pub(super) blame: Scroll,
    pub(super) page: Scroll,
    pub(super) stream: Scroll,
}

impl Model {
    /// A screen that knows nothing yet.
    pub fn new(look: Look, host: &str, interval: Duration) -> Self {
        Self {
            look,
            host: Clean::new(host),
            interval,
            report: None,
            received: None,
            lost: None,
            rates: Rates::default(),
            news: News::default(),
            events: Events::default(),
            held: Vec::new(),
            processes: Processes::default(),
            view: View::Units,
            behind: View::Units,
            help: false,
            paused: false,
            sort: Sort::default(),
            reverse: false,
            filter: String::new(),
            typing: None,
            selected: None,
            units: Scroll::default(),
            blame: Scroll::default(),
            page: Scroll::default(),
            stream: Scroll::default(),
        }
    }

    /// Takes a report over.
    pub fn update(&mut self, report: Report, now: &Moment) {
        let begun = |report: &Report| report.agent.as_ref().map(|agent| agent.since.clone());
        let before = self.report.as_ref();
        let same = before.filter(|before| begun(before) == begun(&report));
        if let Some((since, _)) = self.lost.take()
            && before.is_some()
        {
            let gone = now.up.saturating_sub(since.up).as_secs();
            let text = format!("the agent answers again, after {}", text::span(gone));
            self.events.push(now, Weight::Notable, text);
        }
        if let (Some(_), None, Some(agent)) = (before, same, &report.agent) {
            self.news.new_agent();
            let text = format!("agent {} has started: rates begin anew", agent.version.as_str());
            self.events.push(now, Weight::Notable, text);
        }
        self.rates.update(same, &report, now.up);
        self.news.report(same, &report, now, &mut self.events);
        self.report = Some(report);
        self.received = Some(now.clone());
        let rows = self.rows();
        let there = self
            .selected
            .as_ref()
            .is_some_and(|name| rows.iter().any(|unit| unit.unit == *name));
        // The page of a unit that is gone stays open, and says so.
        if !there && self.view != View::Unit {
            self.selected = rows
                .get(self.units.at.min(rows.len().saturating_sub(1)))
                .map(|unit| unit.unit.clone());
        }
    }

    /// Takes a signal over; while paused it waits.
    pub fn signal(&mut self, heard: Heard, now: &Moment) {
        if !self.paused {
            self.news.signal(&heard, now, &mut self.events);
        } else if self.held.len() < HELD {
            self.held.push((now.clone(), heard));
        }
    }

    /// There is no report, because of `why`.
    pub fn lose(&mut self, why: &str, now: &Moment) {
        let why = Clean::new(why);
        match &mut self.lost {
            Some((_, known)) => *known = why,
            None => {
                if self.report.is_some() {
                    self.events
                        .push(now, Weight::Notable, format!("no report: {}", why.as_str()));
                }
                self.lost = Some((now.clone(), why));
            }
        }
    }

    /// Takes the processes of a unit over, if it is still the one that is looked at.
    pub fn processes(&mut self, processes: Processes) {
        if self
            .selected
            .as_ref()
            .is_some_and(|unit| unit.as_str() == processes.unit)
        {
            self.processes = processes;
        }
    }

    /// Whether reports are wanted.
    pub const fn wants_reports(&self) -> bool {
        !self.paused
    }

    /// Name and cgroup of the unit whose processes are on the screen.
    pub fn wants_processes(&self) -> Option<(String, String)> {
        let unit = self
            .page_unit()
            .filter(|_| self.view == View::Unit && !self.paused)?;
        Some((
            unit.unit.as_str().to_owned(),
            unit.cgroup.as_ref()?.as_str().to_owned(),
        ))
    }

    /// The unit whose page it is.
    pub(super) fn page_unit(&self) -> Option<&Unit> {
        self.report.as_ref()?.unit(self.selected.as_ref()?)
    }

    /// For how long there has been no answer, if that is longer than it should be.
    pub(super) fn overdue(&self, now: &Moment) -> Option<Duration> {
        let received = self.received.as_ref()?;
        let age = now.up.saturating_sub(received.up);
        (!self.paused && age > self.interval * 2 + Duration::from_secs(2)).then_some(age)
    }

    /// Events that wait for the end of the pause.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The units to be shown, in order.
    pub(super) fn rows(&self) -> Vec<&Unit> {
        self.report.as_ref().map_or_else(Vec::new, |report| {
            order::units(report, &self.rates, &self.filter, self.sort, self.reverse)
        })
    }

    /// Does what a key asks for, and says what is left to be done by others.
    pub fn key(&mut self, key: &KeyEvent, now: &Moment) -> Command {
        if self.typing.is_some() {
            return keys::typed(key).map_or(Command::Nothing, |typed| self.typed(typed));
        }
        let Some(action) = keys::action(key) else {
            return Command::Nothing;
        };
        if let Action::Leave(command) = action {
            return command;
        }
        // Whatever key it is, it closes the help first.
        if std::mem::take(&mut self.help) {
            return Command::Nothing;
        }
        match action {
            Action::Help => self.help = true,
            Action::Show(view) => self.show(view),
            Action::NextView => self.show(self.view.step(1)),
            Action::PreviousView => self.show(self.view.step(View::ALL.len() - 1)),
            Action::EditFilter if self.view != View::Unit => self.typing = Some(self.filter.clone()),
            Action::Sort if self.view == View::Units => self.sort = self.sort.next(),
            Action::Reverse if self.view == View::Units => self.reverse = !self.reverse,
            Action::Pause => self.pause(now),
            Action::Open => self.open(),
            Action::Back if self.view == View::Unit => self.view = self.behind,
            Action::Back if self.filter.is_empty() => self.view = View::Units,
            Action::Back => self.filter.clear(),
            Action::Move(_) | Action::Page(_) | Action::First | Action::Last => self.scroll(action),
            _ => {}
        }
        Command::Nothing
    }

    fn typed(&mut self, typed: Typed) -> Command {
        match typed {
            Typed::Add(c) if self.filter.len() < FILTER && !c.is_control() => self.filter.push(c),
            Typed::Add(_) => {}
            Typed::DeleteLast => drop(self.filter.pop()),
            Typed::DeleteAll => self.filter.clear(),
            Typed::Keep => self.typing = None,
            Typed::Drop => self.filter = self.typing.take().unwrap_or_default(),
            Typed::Leave(command) => return command,
        }
        Command::Nothing
    }

    fn show(&mut self, view: View) {
        if view == View::Unit && self.view != View::Unit {
            self.behind = self.view;
            self.page.at = 0;
        }
        self.view = view;
    }

    fn pause(&mut self, now: &Moment) {
        self.paused = !self.paused;
        for (then, heard) in std::mem::take(&mut self.held) {
            self.news.signal(&heard, &then, &mut self.events);
        }
        if !self.paused
            && let Some(received) = &mut self.received
        {
            // It is not the agent who kept us waiting.
            received.up = now.up;
        }
    }

    fn open(&mut self) {
        match self.view {
            View::Units => self.show(View::Unit),
            View::Blame => {
                let victim = self
                    .blame_rows()
                    .get(self.blame.at)
                    .map(|blame| blame.victim.clone());
                let known = victim.filter(|name| {
                    self.report
                        .as_ref()
                        .is_some_and(|report| report.unit(name).is_some())
                });
                if known.is_some() {
                    self.selected = known;
                    self.show(View::Unit);
                }
            }
            View::Unit | View::Events => {}
        }
    }

    fn scroll(&mut self, action: Action) {
        match self.view {
            View::Units => {
                let rows = self.rows();
                let at = rows
                    .iter()
                    .position(|unit| Some(&unit.unit) == self.selected.as_ref());
                let mut scroll = Scroll {
                    at: at.unwrap_or(0),
                    lines: rows.len(),
                    room: self.units.room,
                };
                scroll.apply(action);
                self.selected = rows.get(scroll.at).map(|unit| unit.unit.clone());
                self.units.at = scroll.at;
            }
            View::Blame => self.blame.apply(action),
            View::Unit => self.page.apply(action),
            View::Events => self.stream.apply(action),
        }
    }
}
