//! The terminal: taken over, and given back as it was, whatever happens.

use std::{
    io::{self, Stdout, stdout},
    panic,
};

use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event},
        execute,
        terminal::{
            Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
        },
    },
};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc;

/// The terminal in our hands; dropping it gives it back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes it over. A panic, of whichever thread, gives it back before its message is printed.
    pub(super) fn take() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        let screen = Self {
            terminal: Terminal::new(CrosstermBackend::new(stdout()))?,
        };
        enter()?;
        Ok(screen)
    }

    /// Draws what differs from what is there.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Draws everything with the next [`Self::draw`]. Not `Terminal::clear`, which asks the terminal where the cursor
    /// is: the thread that waits for keys would get the answer.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        execute!(stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }

    /// Gives the terminal back and stops this process; goes on when somebody continues it.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        kill_process(getpid(), Signal::STOP)?;
        self.resume()
    }

    /// Takes the terminal over again: a shell has used it meanwhile, and set its modes as it likes them.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        // Otherwise crossterm believes that it is in raw mode still.
        disable_raw_mode()?;
        enter()?;
        self.forget()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen)
}

/// If that fails the terminal is gone, and there is nothing to give back.
fn give_back() {
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}

/// Keys and changes of size, from a thread of its own: a terminal can only be read by waiting for it.
pub(super) fn input() -> mpsc::Receiver<io::Result<Event>> {
    let (keys, received) = mpsc::channel(64);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let failed = event.is_err();
            if keys.blocking_send(event).is_err() || failed {
                return;
            }
        }
    });
    received
}
