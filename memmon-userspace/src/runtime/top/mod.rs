//! `memmon top`: one loop that takes reports, signals and keys, and draws.

mod agent;
mod alone;
mod processes;
mod terminal;

use std::{
    io,
    pin::pin,
    time::{Duration, Instant, SystemTime},
};

use ratatui::crossterm::event::Event;
use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

pub use self::alone::Alone;
use self::{agent::News, terminal::Screen};
use super::signals;
use crate::export::top::{self, Command, Look, Model, Moment, Processes, Report};

/// Messages that wait to be drawn; who sends more waits.
const WAITING: usize = 64;
/// What is late is said within this time.
const CLOCK: Duration = Duration::from_secs(1);

/// How to show it.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// Time between two reports.
    pub interval: Duration,
    /// What the terminal can show.
    pub look: Look,
    /// Name of this host.
    pub host: String,
}

/// Shows the agent's reports, or, as long as there is no agent, those of `alone`, until the user quits or a signal
/// ends it. The terminal is as before then.
///
/// # Errors
/// If the terminal cannot be read or written.
pub async fn top(options: TopOptions, alone: Option<Alone>) -> io::Result<()> {
    let mut stop = pin!(signals::terminate()?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut suspended = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
    let mut continued = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
    let (news, mut told) = mpsc::channel(WAITING);
    let (wanted, wants) = watch::channel(true);
    tokio::spawn(agent::follow(options.interval, wants, news));
    let mut tick = time::interval(options.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = time::interval(CLOCK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let mut shown = Shown::new(&options, alone);
    let mut screen = Screen::take()?;
    let mut keys = terminal::input();
    loop {
        let now = shown.now();
        screen.draw(|frame| top::draw(frame, &mut shown.model, &now))?;
        tokio::select! {
            () = &mut stop => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            _ = suspended.recv() => screen.suspend()?,
            _ = continued.recv() => screen.resume()?,
            event = keys.recv() => {
                // Keys that come faster than they can be drawn are drawn once.
                let mut event = event;
                while shown.obey(event, &mut screen)? {
                    let Ok(next) = keys.try_recv() else { break };
                    event = Some(next);
                }
                if shown.over {
                    return Ok(());
                }
            }
            // Never none: the follower ends only when we do.
            Some(news) = told.recv() => {
                shown.take(news);
                // Many signals are drawn once.
                while let Ok(news) = told.try_recv() {
                    shown.take(news);
                }
            }
            _ = tick.tick() => shown.tick(),
            processes = Shown::read(&mut shown.reading) => shown.processes(processes),
            _ = clock.tick(), if shown.model.wants_reports() => {}
        }
        // Keys and signals may come faster than they are drawn: the clock and the agent have their turn all the same.
        tokio::task::yield_now().await;
        let wants = shown.model.wants_reports();
        wanted.send_if_modified(|wanted| std::mem::replace(wanted, wants) != wants);
    }
}

/// The model, and where it gets what it does not hear from the agent.
struct Shown {
    model: Model,
    start: Instant,
    alone: Option<Alone>,
    reading: Option<JoinHandle<Processes>>,
    /// The user has had enough.
    over: bool,
}

impl Shown {
    fn new(options: &TopOptions, alone: Option<Alone>) -> Self {
        Self {
            model: Model::new(options.look, &options.host, options.interval),
            start: Instant::now(),
            alone,
            reading: None,
            over: false,
        }
    }

    fn now(&self) -> Moment {
        Moment::new(self.start.elapsed(), SystemTime::now())
    }

    /// Does what the terminal's input asks for; `false` if that is the end.
    fn obey(&mut self, event: Option<io::Result<Event>>, screen: &mut Screen) -> io::Result<bool> {
        let now = self.now();
        let command = match event.transpose()? {
            Some(Event::Key(key)) => self.model.key(&key, &now),
            // A new size is noticed when drawing.
            Some(_) => Command::Nothing,
            None => Command::Quit,
        };
        match command {
            Command::Quit => self.over = true,
            Command::Suspend => screen.suspend()?,
            Command::Redraw => screen.forget()?,
            // The page of a unit is not to wait for its processes.
            Command::Nothing => self.read_processes(),
        }
        Ok(!self.over)
    }

    fn take(&mut self, news: News) {
        let now = self.now();
        match news {
            News::Report(report) => {
                self.alone = None;
                if self.model.wants_reports() {
                    self.model.update(*report, &now);
                }
            }
            News::Heard(heard) => self.model.signal(heard, &now),
            News::Lost(_) if self.alone.is_some() => {}
            News::Lost(why) => self.model.lose(&why, &now),
        }
    }

    fn tick(&mut self) {
        if !self.model.wants_reports() {
            return;
        }
        self.read_processes();
        let Some(alone) = &mut self.alone else { return };
        let report = alone.report().map_err(|error| error.to_string());
        let report = report.and_then(|document| {
            // The same way as the agent's.
            let text = serde_json::to_string(&document).map_err(|error| error.to_string())?;
            Report::parse(&text).map_err(|error| error.to_string())
        });
        let now = self.now();
        match report {
            Ok(report) => self.model.update(report, &now),
            Err(why) => self.model.lose(&why, &now),
        }
    }

    /// Begins to read the processes of the unit that is looked at, unless that is going on already.
    fn read_processes(&mut self) {
        if self.reading.is_none()
            && let Some((unit, cgroup)) = self.model.wants_processes()
        {
            let read = move || processes::read(unit, &cgroup);
            self.reading = Some(tokio::task::spawn_blocking(read));
        }
    }

    async fn read(reading: &mut Option<JoinHandle<Processes>>) -> Option<Processes> {
        let Some(handle) = reading else {
            return std::future::pending().await;
        };
        let processes = handle.await.ok();
        *reading = None;
        processes
    }

    fn processes(&mut self, processes: Option<Processes>) {
        if let Some(processes) = processes {
            self.model.processes(processes);
        }
    }
}
