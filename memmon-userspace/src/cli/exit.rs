//! How a command ends: one code and, if it failed, one message.

use std::{
    fmt,
    io::{self, Write as _},
};

use crate::config::ConfigErrors;

/// The exit codes that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Done = 0,
    /// Failed at run time.
    Failed = 1,
    /// Bad usage or configuration.
    Usage = 2,
    /// This kernel or host cannot do it.
    Unsupported = 3,
    /// Permission is missing.
    Permission = 4,
    /// `memmon check` only: works, but not everything.
    Degraded = 5,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// What a command returns: a code that says all there is to say, or a failure with its message.
pub type CliResult = Result<ExitCode, Failure>;

/// A failed command. The message says operation, object, value, and what to do.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub code: ExitCode,
    /// What is printed, with its causes.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure that ends the process with `code`.
    pub fn new(code: ExitCode, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }

    /// As [`Failure::new`], from a text.
    pub fn message(code: ExitCode, text: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self::new(code, anyhow::Error::msg(text))
    }
}

/// With `?`: bad configuration ends with [`ExitCode::Usage`], what the kernel does not permit with
/// [`ExitCode::Permission`], everything else with [`ExitCode::Failed`].
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let configuration = error.chain().any(|cause| cause.is::<ConfigErrors>());
        Self {
            code: if configuration {
                ExitCode::Usage
            } else if error.chain().any(is_denied) {
                ExitCode::Permission
            } else {
                ExitCode::Failed
            },
            error,
        }
    }
}

fn is_denied(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Says with which code an error ends the process.
pub trait OrExit<T> {
    /// The value, or a failure with `code`.
    ///
    /// # Errors
    /// If this is an error.
    fn or_exit(self, code: ExitCode) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: ExitCode) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error))
    }
}

/// Prints the message of a failure and returns the code.
///
/// A reader that closed our standard output (`memmon trace | head`) has what it wanted: no message, no
/// failure.
pub(super) fn finish(result: CliResult) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(failure) if is_broken_pipe(&failure.error) => ExitCode::Done,
        Err(failure) => {
            // If standard error is closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{}", text(&failure.error));
            failure.code
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |io: &io::Error| io.kind() == io::ErrorKind::BrokenPipe;
    error
        .downcast_ref::<StdoutError>()
        .is_some_and(|StdoutError(io)| is_pipe(io))
}

/// Configuration errors stand alone, one per line, so that editors find the place; others name the program.
fn text(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ConfigErrors>() {
        Some(errors) => errors.to_string(),
        None => format!("memmon: {error:#}"),
    }
}

/// Standard output could not be written to. A type of its own, so that a broken pipe of ours is told from
/// that of a socket.
#[derive(Debug, thiserror::Error)]
#[error("writing standard output: {0}")]
pub struct StdoutError(#[from] pub io::Error);
