//! What a case is, and which cases a run selects.

use anyhow::{Result, bail};
use memmon::config::Pattern;

use super::Ctx;

/// One thing that is tested inside a virtual machine.
#[derive(Debug)]
pub struct Case {
    /// `topic.what`, unique.
    pub name: &'static str,
    /// The case itself. An error is a failure; so is a panic, or running longer than `seconds`.
    pub run: fn(&mut Ctx) -> Result<Outcome>,
    /// How long it may take, in seconds of an emulated machine.
    pub seconds: u64,
}

/// How a case ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds. The words say what was compared, with the numbers: a case that compared nothing has none.
    Passed(String),
    /// This kernel or systemd lacks what the case is about; the words say what.
    Skipped(String),
}

impl Outcome {
    /// The case holds; `what` says what was compared.
    pub fn passed(what: impl Into<String>) -> Result<Self> {
        Ok(Self::Passed(what.into()))
    }

    /// The case does not apply; `why` says what is absent.
    pub fn skipped(why: impl Into<String>) -> Result<Self> {
        Ok(Self::Skipped(why.into()))
    }
}

/// The cases whose names match one of the patterns; all of them if there is no pattern.
///
/// # Errors
/// If a pattern is malformed or matches no case: a run that silently tests nothing is worse than none.
pub fn select(cases: &[&'static Case], patterns: &[String]) -> Result<Vec<&'static Case>> {
    if patterns.is_empty() {
        return Ok(cases.to_vec());
    }
    let mut selected = Vec::new();
    for text in patterns {
        let pattern = Pattern::new(text)?;
        let before = selected.len();
        for &case in cases {
            if pattern.matches(case.name) && !selected.iter().any(|known: &&Case| known.name == case.name) {
                selected.push(case);
            }
        }
        if selected.len() == before {
            bail!("no case is called {text}");
        }
    }
    Ok(selected)
}

#[cfg(test)]
#[path = "case_tests.rs"]
mod tests;
