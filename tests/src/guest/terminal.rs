//! A program in a terminal that nobody sits at: tmux, in a unit of its own.

use anyhow::Result;

use super::{Ctx, shell, units::Unit};

const UNIT: &str = "terminal.service";
const SOCKET: &str = "/run/memmon-vmtest-terminal";

/// The terminal, until the case ends.
#[derive(Clone, Debug)]
pub struct Terminal {
    unit: Unit,
}

impl Ctx {
    /// Starts a program in a terminal of 80 by 24 characters.
    ///
    /// # Errors
    /// If tmux cannot be started.
    pub fn terminal(&self, command: &str) -> Result<Terminal> {
        let tmux = [
            "tmux",
            "-S",
            SOCKET,
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            command,
        ];
        let properties = ["Type=forking", "Environment=TERM=xterm LANG=C.UTF-8"];
        let unit = self.transient_unit(UNIT, &properties, &tmux)?;
        Ok(Terminal { unit })
    }
}

impl Terminal {
    /// What it shows.
    ///
    /// # Errors
    /// If the program has ended, and the terminal with it.
    pub fn shown(&self) -> Result<String> {
        shell::run("tmux", &["-S", SOCKET, "capture-pane", "-p"])
    }

    /// Presses keys, by tmux' names.
    ///
    /// # Errors
    /// If the program has ended.
    pub fn press(&self, keys: &str) -> Result<()> {
        shell::run("tmux", &["-S", SOCKET, "send-keys", keys]).map(drop)
    }

    /// Closes it.
    ///
    /// # Errors
    /// If its unit cannot be stopped.
    pub fn close(&self) -> Result<()> {
        self.unit.stop()
    }
}
