//! `X-MemmonPriority=` in the `[Unit]` section of unit files. Pure: text in, value out.
//!
//! The syntax is systemd.syntax(7): sections, comments, continuation lines; the last assignment wins, an empty
//! one takes back those before it.

use crate::config::Priority;

const SECTION: &str = "Unit";
const KEY: &str = "X-MemmonPriority";

/// What one or more unit files declare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Declaration {
    /// The value that counts; `None` if there is none.
    pub priority: Option<Priority>,
    /// Values that are no priority, as sentences; they are passed over, as systemd does.
    pub problems: Vec<String>,
}

impl Declaration {
    /// Reads one more file: first the unit's own, then its drop-ins in systemd's order. `name` is for messages.
    pub(super) fn read(&mut self, name: &str, text: &str) {
        for (line, value) in assignments(text) {
            match value.as_str() {
                "" => self.priority = None,
                value => match value.parse() {
                    Ok(priority) => self.priority = Some(priority),
                    Err(e) => self
                        .problems
                        .push(format!("{name}:{line}: {KEY}={value} is ignored: {e}")),
                },
            }
        }
    }
}

/// Every value assigned to [`KEY`] in [`SECTION`], with the number of the line where it begins.
fn assignments(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_section = false;
    for (number, line) in logical_lines(text) {
        if let Some(section) = line.strip_prefix('[') {
            in_section = section.strip_suffix(']') == Some(SECTION);
        } else if let Some((key, value)) = line.split_once('=')
            && in_section
            && key.trim_end() == KEY
        {
            found.push((number, value.trim().to_owned()));
        }
    }
    found
}

/// Lines without comments, with their continuation lines, trimmed; each with the number it begins at.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        // Also between a line and its continuation.
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (start, mut whole) = open.take().unwrap_or((number, String::new()));
        whole.push_str(line);
        let backslashes = whole.bytes().rev().take_while(|&byte| byte == b'\\').count();
        if backslashes % 2 == 1 {
            whole.pop();
            whole.push(' ');
            open = Some((start, whole));
        } else {
            lines.push((start, whole.trim_end().to_owned()));
        }
    }
    lines.extend(open.map(|(start, whole)| (start, whole.trim_end().to_owned())));
    lines
}

#[cfg(test)]
#[path = "unit_file_tests.rs"]
mod tests;
