//! Recordings: rows of what decisions rested on; and other policies tried on them.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::policy::{
    HostDecision, HostSnapshot, MonoTime, Rules, SituationState, Strategy, StrategyState, strategies,
};

/// The first line of a recording.
const SCHEMA: &str = "memmon.recording/1";
/// The same of any version.
const FAMILY: &str = "memmon.recording/";

/// One moment: what was measured, what was remembered, and what was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// When, on the recorded host's monotonic clock.
    pub now: MonoTime,
    /// What was measured.
    pub snapshot: HostSnapshot,
    /// What was remembered after measuring; `None`: follow from the moment before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StrategyState>,
    /// What was decided; `None`: nobody decided, it was only measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<HostDecision>,
}

/// What two policies make of one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Seconds since the first moment.
    pub at_seconds: f64,
    /// Share of RAM in use.
    pub ram_used: f64,
    /// What was done.
    pub recorded: Option<HostDecision>,
    /// What the other policy would have done.
    pub simulated: HostDecision,
    /// They do the same to the same units.
    pub same: bool,
}

impl Compared {
    /// One line of `memmon simulate --json` (`memmon.simulated/1`).
    pub fn to_json(&self) -> serde_json::Value {
        let mut line = serde_json::json!(self);
        line["schema"] = "memmon.simulated/1".into();
        line
    }
}

/// A recording cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Not a recording.
    #[error(
        "the first line is not {{\"schema\":\"{SCHEMA}\"}}: this is no recording that this version understands"
    )]
    Schema,
    /// A recording of another version.
    #[error("it is a {found}, and this memmon reads {SCHEMA}: use the memmon that wrote it, or a newer one")]
    Version {
        /// What it says that it is.
        found: String,
    },
    /// Nothing was recorded.
    #[error("it has no moments: record for longer, or from further back in the history")]
    Empty,
    /// A line that is no moment.
    #[error("line {line}: {source}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Writes the first line.
///
/// # Errors
/// If the file cannot be written.
pub fn begin(file: &mut impl Write) -> Result<(), RecordingError> {
    writeln!(file, "{{\"schema\":\"{SCHEMA}\"}}")?;
    Ok(())
}

/// Writes one moment.
///
/// # Errors
/// If the file cannot be written.
pub fn put(file: &mut impl Write, moment: &Moment) -> Result<(), RecordingError> {
    let line = serde_json::to_string(moment).map_err(|source| RecordingError::Line { line: 0, source })?;
    writeln!(file, "{line}")?;
    file.flush()?;
    Ok(())
}

/// Reads a recording.
///
/// # Errors
/// If the file cannot be read, or is none.
pub fn read(file: impl BufRead) -> Result<Vec<Moment>, RecordingError> {
    let mut lines = file.lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let schema = serde_json::from_str::<serde_json::Value>(&first).ok();
    match schema.as_ref().and_then(|value| value["schema"].as_str()) {
        Some(SCHEMA) => {}
        Some(found) if found.starts_with(FAMILY) => {
            return Err(RecordingError::Version {
                found: found.to_owned(),
            });
        }
        _ => return Err(RecordingError::Schema),
    }
    let mut moments = Vec::new();
    for (index, line) in lines.enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let moment = serde_json::from_str(&line).map_err(|source| RecordingError::Line {
            line: index + 2,
            source,
        })?;
        moments.push(moment);
    }
    if moments.is_empty() {
        return Err(RecordingError::Empty);
    }
    Ok(moments)
}

/// Replays a recording through the rules of `config`, each unit with the priority that it has there. What was
/// measured stays as it was, whatever the simulated policy would have changed; steps it begins are taken to have
/// gained what they asked for by the next moment.
pub fn simulate(config: &Config, moments: &[Moment]) -> Vec<Compared> {
    let rules = Rules::from(config);
    let mut state = StrategyState::default();
    let mut begun: Vec<Strategy> = Vec::new();
    let mut situation = SituationState::default();
    let first = moments.first().map_or(MonoTime(0), |moment| moment.now);
    let mut compared = Vec::with_capacity(moments.len());
    for moment in moments {
        let mut snapshot = moment.snapshot.clone();
        for unit in &mut snapshot.units {
            unit.priority = config.priority(&unit.unit);
        }
        let now = moment.now;
        for strategy in begun.drain(..) {
            if let (Some(unit), Some(amount)) = (&strategy.unit, strategy.amount) {
                state.ended(unit, strategy.action, amount, amount, now);
            }
        }
        situation = situation.next(&snapshot, rules.thresholds, now);
        if let Some(recorded) = &moment.state {
            // What came of the steps was remembered better than it can be guessed.
            state = recorded.clone();
            state.situation = situation;
        }
        state.observe(&snapshot, &rules, now);
        let simulated = strategies(&snapshot, &rules, &state, now);
        for strategy in &simulated.strategies {
            state.begun(strategy, now);
            if strategy.takes() && strategy.action != crate::policy::StrategyAction::ReleaseRequest {
                begun.push(strategy.clone());
            }
        }
        compared.push(Compared {
            at_seconds: now.since(first).as_secs_f64(),
            ram_used: snapshot.host.ram_used(),
            same: moment
                .decision
                .as_ref()
                .is_some_and(|recorded| steps(recorded).eq(steps(&simulated))),
            recorded: moment.decision.clone(),
            simulated,
        });
    }
    compared
}

/// What a decision does, without the words.
fn steps(decision: &HostDecision) -> impl Iterator<Item = (&'static str, Option<&str>, Option<u64>)> {
    decision.strategies.iter().map(|strategy| {
        (
            strategy.action.as_str(),
            strategy.unit.as_deref(),
            strategy.amount,
        )
    })
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
