//! SIGINT and SIGTERM become a question that waits ask, so that guards are dropped before the process ends.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Result, bail};
use memmon::runtime::signals;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on the first SIGINT or SIGTERM sets the flag; a second one does nothing more.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn install() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let terminate = {
        let _inside = runtime.enter();
        signals::terminate()?
    };
    thread::spawn(move || {
        runtime.block_on(terminate);
        REQUESTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Whether the user wants us to end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error if the user wants us to end.
///
/// # Errors
/// Then.
pub fn check() -> Result<()> {
    if requested() {
        bail!("interrupted");
    }
    Ok(())
}
