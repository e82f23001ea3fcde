//! Tables that read well in a terminal and in Markdown.

use std::{fmt, fs, process::Command};

use anyhow::{Context as _, Result};

/// A table with a heading, and a line below that says how it was measured.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// As many cells as columns each.
    pub rows: Vec<Vec<String>>,
    /// How it was measured.
    pub note: String,
}

impl Table {
    /// An empty table.
    pub fn new(title: &str, columns: &[&str], note: &str) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
            note: note.to_owned(),
        }
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl ToString>) {
        self.rows
            .push(cells.into_iter().map(|cell| cell.to_string()).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || [&self.columns].into_iter().chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = all().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        writeln!(f, "## {}\n", self.title)?;
        for (index, row) in all().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                for width in &widths {
                    write!(f, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(f, "|")?;
            }
        }
        if !self.note.is_empty() {
            writeln!(f, "\n{}", self.note)?;
        }
        Ok(())
    }
}

/// When and where.
///
/// # Errors
/// If the machine does not say what it is.
pub(super) fn machine(rounds: usize) -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let cpus = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let virtual_machine = cpuinfo.lines().any(|line| {
        line.starts_with("flags") && line.split_ascii_whitespace().any(|flag| flag == "hypervisor")
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's release")?;
    let date = Command::new("date")
        .args(["--utc", "+%Y-%m-%d %H:%M UTC"])
        .output()
        .context("starting date")?;
    let load = fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
    Ok(format!(
        "{}, kernel {}, {model}{}, {cpus} CPUs, load {} at the start, {rounds} rounds, {} build.\n",
        String::from_utf8_lossy(&date.stdout).trim(),
        kernel.trim(),
        if virtual_machine { " (virtual machine)" } else { "" },
        load.split_ascii_whitespace().next().unwrap_or("unknown"),
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    ))
}
