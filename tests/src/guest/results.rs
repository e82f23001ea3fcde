//! The results port: one JSON object per line (xtask/src/vm/protocol.rs reads them).

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    sync::Mutex,
};

use anyhow::{Context, Result};
use serde::Serialize;

use super::shell;

/// The second serial port.
const PORT: &str = "/dev/ttyS1";

/// How a case ended, as the host reads it.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It held.
    Ok,
    /// It did not.
    Failed,
    /// It does not apply here.
    Skipped,
}

/// One line.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Line<'a> {
    /// A case begins.
    Start {
        /// Its name.
        start: &'a str,
    },
    /// A case is over.
    Case {
        /// Its name.
        case: &'a str,
        /// How it ended.
        status: Status,
        /// What was compared, why it was skipped, or what is wrong.
        detail: &'a str,
        /// How long it took.
        seconds: f64,
    },
    /// Text for a file of its own on the host.
    Log {
        /// The file's name, without extension.
        log: &'a str,
        /// Appended to it.
        text: &'a str,
    },
    /// What a case does right now, for people who watch.
    Say {
        /// A sentence.
        say: &'a str,
    },
    /// Asks the host to look at the agent's page with a browser.
    Browse {
        /// The unit whose alarm has to appear there and to go again.
        browse: &'a str,
    },
    /// A measured value; never judged.
    Measure {
        /// What was measured, with its unit: `reaction_ms`.
        measure: &'a str,
        /// A number, or an object of numbers.
        value: &'a serde_json::Value,
    },
    /// Nothing follows.
    End {
        /// Always true.
        end: bool,
        /// How many cases have a result.
        ran: usize,
    },
}

/// Where lines go: the port inside a machine, a buffer in tests.
pub struct Port {
    output: Mutex<Box<dyn Write + Send>>,
}

impl Port {
    /// Has the kernel pass bytes through the port as they are; once per boot.
    ///
    /// # Errors
    /// If there is no second serial port.
    pub fn set_up() -> Result<()> {
        shell::run("stty", &["-F", PORT, "raw", "-echo", "clocal"]).map(drop)
    }

    /// The serial port.
    ///
    /// # Errors
    /// If there is no second serial port.
    pub fn open() -> Result<Self> {
        let file = File::options()
            .write(true)
            // As a controlling terminal it would stop every case, being in a process group of its own.
            .custom_flags(libc::O_NOCTTY)
            .open(PORT)
            .with_context(|| format!("opening {PORT}"))?;
        Ok(Self::new(Box::new(file)))
    }

    /// A port that writes to `output`.
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        Self {
            output: Mutex::new(output),
        }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// If the port does not take it.
    pub fn send(&self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let mut output = self
            .output
            .lock()
            .map_err(|_| io::Error::other("the port is poisoned"))?;
        output.write_all(text.as_bytes())?;
        output.flush()
    }
}
