//! What the guest says on the results port: one JSON object per line (tests/src/guest/results.rs writes them).

use serde::Deserialize;

/// How a case ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    Failed,
    Skipped,
}

/// One line.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub(crate) enum Line {
    /// A case is over.
    Case {
        case: String,
        status: Status,
        /// What was seen: the reason of a skip, the error of a failure.
        #[serde(default)]
        detail: String,
        seconds: f64,
    },
    /// A case begins: tells which one hung.
    Start { start: String },
    /// Text for a file of its own, a failed case's journal for instance.
    Log { log: String, text: String },
    /// What a case does right now, for people who watch.
    Say { say: String },
    /// A browser on this machine is to see an alarm of this unit come and go on the agent's page.
    Browse { browse: String },
    /// A measured value, kept with the results and never judged.
    Measure {
        measure: String,
        value: serde_json::Value,
    },
    /// Nothing follows.
    End { end: bool, ran: usize },
}

/// What a run has said so far.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) passed: usize,
    pub(crate) skipped: Vec<(String, String)>,
    pub(crate) failed: Vec<(String, String)>,
    began: bool,
    running: Option<String>,
    end: Option<usize>,
    garbled: Vec<String>,
}

impl Transcript {
    /// Takes one line; returns what it meant, for showing it.
    pub(crate) fn take(&mut self, text: &str) -> Option<Line> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        self.began = true;
        let Ok(line) = serde_json::from_str::<Line>(text) else {
            self.garbled.push(text.to_owned());
            return None;
        };
        match &line {
            Line::Start { start } => self.running = Some(start.clone()),
            Line::Case {
                case, status, detail, ..
            } => {
                self.running = None;
                match status {
                    Status::Ok => self.passed += 1,
                    Status::Skipped => self.skipped.push((case.clone(), detail.clone())),
                    Status::Failed => self.failed.push((case.clone(), detail.clone())),
                }
            }
            Line::End { end: true, ran } => self.end = Some(*ran),
            Line::End { .. }
            | Line::Log { .. }
            | Line::Say { .. }
            | Line::Browse { .. }
            | Line::Measure { .. } => {}
        }
        Some(line)
    }

    /// Whether the guest has said anything at all: before that, nothing of ours ran in it.
    pub(crate) fn began(&self) -> bool {
        self.began
    }

    /// Everything that makes this run a failure, in words; empty means it passed.
    pub(crate) fn problems(&self, console: &str) -> Vec<String> {
        let mut problems: Vec<String> = kernel_complaints(console);
        for (case, detail) in &self.failed {
            problems.push(format!("{case}: {detail}"));
        }
        let seen = self.passed + self.skipped.len() + self.failed.len();
        match self.end {
            None => problems.push(match &self.running {
                Some(case) => format!("no end: the machine stopped in the case {case}"),
                None => "no end: the machine stopped before its guest was done".into(),
            }),
            Some(ran) if ran != seen => {
                problems.push(format!("the guest ran {ran} cases but {seen} results arrived"));
            }
            Some(_) => {}
        }
        if self.passed + self.failed.len() == 0 {
            problems.push("not a single case ran".into());
        }
        if let Some(first) = self.garbled.first() {
            let count = self.garbled.len();
            problems.push(format!("{count} lines are not results, the first: {first:.200}"));
        }
        problems
    }
}

/// What a kernel prints when something is wrong with it.
const COMPLAINTS: &[&str] = &[
    "Kernel panic",
    "Oops:",
    "BUG: ",
    "kernel BUG at",
    "general protection fault",
    "Unable to handle kernel",
];

fn kernel_complaints(console: &str) -> Vec<String> {
    let complains = |line: &&str| COMPLAINTS.iter().any(|words| line.contains(words));
    let mut lines: Vec<String> = console
        .lines()
        .filter(complains)
        .map(|line| format!("kernel: {}", line.trim()))
        .collect();
    lines.truncate(10);
    lines
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
