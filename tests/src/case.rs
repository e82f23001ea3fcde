//! Cases that run one after the other, and the account of how they ended.

use std::{
    fmt, io,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use anyhow::Result;

/// How a case ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It compared something and found it right; says what, in numbers.
    Pass(String),
    /// It could not be tried here; says why.
    Skip(String),
}

/// Ends a case well; takes what `format!` takes.
#[macro_export]
macro_rules! pass {
    ($($detail:tt)*) => { Ok($crate::case::Outcome::Pass(format!($($detail)*))) };
}

/// Ends a case that cannot be tried here; takes what `format!` takes.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => { return Ok($crate::case::Outcome::Skip(format!($($reason)*))) };
}

/// One thing to try. An error is a failure.
pub struct Case<C> {
    /// Short and unique, with dashes.
    pub name: &'static str,
    /// Does it.
    pub run: fn(&mut C) -> Result<Outcome>,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Ended well.
    pub passed: usize,
    /// Found something wrong, or could not be carried out.
    pub failed: usize,
    /// Could not be tried here.
    pub skipped: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl From<Summary> for ExitCode {
    /// A run that compared nothing has failed as well.
    fn from(summary: Summary) -> Self {
        if summary.failed == 0 && summary.passed > 0 {
            Self::SUCCESS
        } else {
            Self::FAILURE
        }
    }
}

/// Runs the cases in their order until one was interrupted; prints a line for each to `out`.
///
/// # Errors
/// If `out` cannot be written to.
pub fn run_all<'a, C: 'a>(
    cases: impl IntoIterator<Item = &'a Case<C>>,
    context: &mut C,
    interrupted: impl Fn() -> bool,
    out: &mut impl io::Write,
) -> io::Result<Summary> {
    let mut summary = Summary::default();
    for case in cases {
        if interrupted() {
            writeln!(out, "interrupted before {}", case.name)?;
            summary.failed += 1;
            break;
        }
        // A panic in one case must not keep the others from running, nor the guards from cleaning up.
        let result = panic::catch_unwind(AssertUnwindSafe(|| (case.run)(context)));
        match result {
            Ok(Ok(Outcome::Pass(detail))) => {
                summary.passed += 1;
                writeln!(out, "PASS {} ({detail})", case.name)?;
            }
            Ok(Ok(Outcome::Skip(reason))) => {
                summary.skipped += 1;
                writeln!(out, "SKIP {} ({reason})", case.name)?;
            }
            Ok(Err(error)) => {
                summary.failed += 1;
                writeln!(out, "FAIL {} ({error:#})", case.name)?;
            }
            Err(_) => {
                summary.failed += 1;
                writeln!(out, "FAIL {} (panicked: see standard error)", case.name)?;
            }
        }
        out.flush()?;
    }
    writeln!(out, "{summary}")?;
    out.flush()?;
    Ok(summary)
}

#[cfg(test)]
#[path = "case_tests.rs"]
mod tests;
