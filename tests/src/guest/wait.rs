//! Waiting for a condition, with a deadline and a reason.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long between two looks. What is waited for has no event of its own, or the test is about that event.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` until it has an answer.
///
/// # Errors
/// The probe's own, or at the deadline: `what` has not happened.
pub fn until<T>(deadline: Instant, what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("not within {:.1} s: {what}", began.elapsed().as_secs_f64());
        }
        thread::sleep(PAUSE);
    }
}

/// Reads a value until it has not changed for `quiet`, and returns it.
///
/// # Errors
/// The reader's own, or if it still changes at the deadline.
pub fn until_still<T: PartialEq>(
    deadline: Instant,
    quiet: Duration,
    what: &str,
    mut read: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut last = read()?;
    let mut since = Instant::now();
    until(deadline, &format!("{what} comes to rest"), || {
        let now = read()?;
        if now != last {
            last = now;
            since = Instant::now();
        }
        Ok((since.elapsed() >= quiet).then_some(()))
    })?;
    Ok(last)
}
