//! A program that is told of an alarm on its standard input.

use std::{io, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt as _, process::Command};

/// How long it may run.
const TIME: Duration = Duration::from_secs(30);

/// Why the program has not taken something.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecError {
    /// It cannot be started, or not be written to.
    #[error("cannot be run: {0}")]
    Run(#[from] io::Error),
    /// It took too long and was killed.
    #[error("was killed after {} s", TIME.as_secs())]
    Slow,
    /// It failed.
    #[error("ended with {0}")]
    Status(std::process::ExitStatus),
}

/// Runs a program, not a shell, with `document` as its input and success as the answer.
pub(super) async fn run(program: &[String], document: &[u8]) -> Result<(), ExecError> {
    let Some((name, arguments)) = program.split_first() else {
        return Ok(());
    };
    let mut child = Command::new(name)
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Into the journal, as memmon's own.
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()?;
    // memmon hides from the OOM killer; what it starts must not.
    if let Some(pid) = child.id()
        && let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0")
    {
        tracing::debug!("{name} is as safe from the OOM killer as memmon is: {error}");
    }
    let input = child.stdin.take();
    let told = async {
        if let Some(mut input) = input
            && let Err(error) = input.write_all(document).await
            // That it does not want to read it is its own business.
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(error.into());
        }
        match child.wait().await? {
            status if status.success() => Ok(()),
            status => Err(ExecError::Status(status)),
        }
    };
    tokio::time::timeout(TIME, told)
        .await
        .unwrap_or(Err(ExecError::Slow))
}
