//! Signals as futures.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Completes at the first SIGTERM or SIGINT after the call.
///
/// # Errors
/// If a handler cannot be installed.
pub fn terminate() -> io::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! { _ = term.recv() => (), _ = int.recv() => () }
    })
}
