//! What a case gets: the machine it runs on, and the means to change it so that the change is undone.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{
    Case, cases,
    results::{Line, Port},
    undo::{Journal, Undo},
    wait,
};

/// Where binaries, packaging and the run's configuration are mounted.
pub const PAYLOAD: &str = "/opt/memmon";

/// What the host says about this run: `/opt/memmon/run.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    /// The platform's name: `bookworm`, `newest`.
    pub platform: String,
    /// The Debian release of the root file system.
    pub root: String,
    /// The kernel that should be running.
    pub release: String,
    /// Globs over case names; empty: all.
    pub cases: Vec<String>,
    /// Set: the long cases run instead, each for so many minutes.
    pub soak_minutes: Option<u64>,
}

impl Run {
    /// The cases to choose from.
    pub fn registry(&self) -> Vec<&'static Case> {
        match self.soak_minutes {
            Some(_) => cases::long(),
            None => cases::all(),
        }
    }

    /// How long a case may take.
    pub fn time_for(&self, case: &Case) -> Duration {
        Duration::from_secs(case.seconds + 60 * self.soak_minutes.unwrap_or(0))
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// If it is missing or malformed.
    pub fn read() -> Result<Self> {
        let path = Path::new(PAYLOAD).join("run.json");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))
    }
}

/// The context of one case.
pub struct Ctx {
    /// What the host said about the run.
    pub run: Run,
    deadline: Instant,
    undo: Journal,
    port: Port,
}

impl Ctx {
    /// A context for a case that has to be done at `deadline`.
    pub fn new(run: Run, deadline: Instant, undo: Journal, port: Port) -> Self {
        Self {
            run,
            deadline,
            undo,
            port,
        }
    }

    /// Where steps back are written down.
    pub fn undo(&self) -> &Journal {
        &self.undo
    }

    /// When waiting is over: a little before the case itself is stopped, so that it can say what is missing.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Asks `probe` until it has an answer or the case's time is up.
    ///
    /// # Errors
    /// The probe's own, or that `what` has not happened.
    pub fn wait<T>(&self, what: &str, probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        wait::until(self.deadline, what, probe)
    }

    /// As [`Ctx::wait`], but for no longer than `limit`.
    ///
    /// # Errors
    /// As [`Ctx::wait`].
    pub fn wait_for<T>(
        &self,
        limit: Duration,
        what: &str,
        probe: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        wait::until(self.deadline.min(Instant::now() + limit), what, probe)
    }

    /// Sends a measured value to the host, which keeps and shows it.
    ///
    /// # Errors
    /// If the port does not take it.
    pub fn measure(&self, name: &str, value: impl Into<serde_json::Value>) -> Result<()> {
        let value = value.into();
        self.port
            .send(&Line::Measure {
                measure: name,
                value: &value,
            })
            .context("sending a measured value")
    }

    /// Tells people who watch the run what is happening.
    ///
    /// # Errors
    /// If the port does not take it.
    pub fn say(&self, sentence: &str) -> Result<()> {
        self.port
            .send(&Line::Say { say: sentence })
            .context("saying something")
    }

    /// Has the host look at the agent's page, through [`Ctx::door`]: it fails the run unless an alarm of `unit` appears
    /// there, with the pages that went out, and goes again.
    ///
    /// # Errors
    /// If the port does not take it.
    pub fn browse(&self, unit: &str) -> Result<()> {
        let line = Line::Browse { browse: unit };
        self.port.send(&line).context("asking for a browser")
    }

    /// Sends text to the host, which appends it to the file NAME.log of the run.
    ///
    /// # Errors
    /// If the port does not take it.
    pub fn log(&self, name: &str, text: &str) -> Result<()> {
        let line = Line::Log { log: name, text };
        self.port.send(&line).context("sending a log")
    }

    /// Writes a file that is removed after the case; directories are made as needed and stay.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_file(&self, path: impl Into<PathBuf>, content: &str) -> Result<()> {
        let path = path.into();
        self.undo.note(&Undo::Remove(path.clone()))?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
    }

    /// Changes a file of /proc or /sys; the old value comes back after the case.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn set(&self, path: impl Into<PathBuf>, value: &str) -> Result<()> {
        let path = path.into();
        let old = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        self.undo
            .note(&Undo::Restore(path.clone(), chosen(old.trim()).to_owned()))?;
        fs::write(&path, value).with_context(|| format!("writing {value:?} to {}", path.display()))
    }
}

/// Files of /sys that list their choices mark the one in force: `always [madvise] never`.
fn chosen(text: &str) -> &str {
    match text.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
        Some((marked, _)) => marked,
        None => text,
    }
}

#[cfg(test)]
#[path = "ctx_tests.rs"]
mod tests;
