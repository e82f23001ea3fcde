//! Asking the running agent, for `report` and `status`.

use serde_json::Value;

use super::{ExitCode, Failure};
use crate::{
    action::systemd::Bus,
    export::dbus::{Client, ClientError},
};

/// The running agent's report (memmon.report/1).
///
/// # Errors
/// If no agent answers, or it refuses.
pub fn report() -> Result<Value, AskError> {
    let text = wait(async { Client::connect(&Bus::System).await?.report().await })?;
    Ok(serde_json::from_str(&text)?)
}

/// The same with the strategies carried out, or those that would be.
///
/// # Errors
/// As [`report`], and if the caller is not root.
pub fn apply(dry_run: bool) -> Result<Value, AskError> {
    let (strategies, report) = wait(async {
        let client = Client::connect(&Bus::System).await?;
        Ok((client.apply(dry_run).await?, client.report().await?))
    })?;
    let mut report: Value = serde_json::from_str(&report)?;
    report["strategies"] = serde_json::from_str(&strategies)?;
    Ok(report)
}

/// The agent gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Over the bus.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No runtime.
    #[error("waiting for an answer: {0}")]
    Runtime(#[from] std::io::Error),
    /// It is no JSON.
    #[error("the agent's answer is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl AskError {
    /// No agent runs, as against one that does not answer.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Client(ClientError::NoAgent | ClientError::NoBus(_)))
    }

    /// The failure of `command` that this is.
    pub fn failure(self, command: &str) -> Failure {
        let code = match &self {
            error if error.is_absent() => ExitCode::Unsupported,
            Self::Client(ClientError::Denied(_)) => ExitCode::Permission,
            _ => ExitCode::Failed,
        };
        Failure::new(code, anyhow::Error::new(self).context(command.to_owned()))
    }
}

fn wait<T>(answer: impl Future<Output = Result<T, ClientError>>) -> Result<T, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(answer)?)
}
