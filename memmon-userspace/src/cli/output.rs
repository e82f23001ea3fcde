//! Standard output, and whether it may have colours.

use std::{
    env,
    io::{self, IsTerminal, Write as _},
};

use super::exit::StdoutError;

/// Writes all of `text` to standard output and flushes it.
///
/// # Errors
/// If standard output is closed or full; a closed one ends the process quietly.
pub fn print(text: &str) -> Result<(), StdoutError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// As [`print()`], with a newline behind it.
///
/// # Errors
/// As [`print()`].
pub fn print_line(text: &str) -> Result<(), StdoutError> {
    print(&format!("{text}\n"))
}

/// Prints `document` on one line.
///
/// # Errors
/// As [`print()`].
pub fn print_json(document: &serde_json::Value) -> Result<(), StdoutError> {
    print_line(&document.to_string())
}

/// Whether text on `stream` may have colours: it is a terminal that knows them, and nobody set `NO_COLOR`.
pub fn colours(stream: &impl IsTerminal) -> bool {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    stream.is_terminal() && !no_color && !dumb
}
