//! `cargo xtask setup`: installs what building and testing need. Safe to repeat: what is there stays.

mod apt;
mod bpf;
mod tools;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::Result;

use crate::vm;

/// What the machine is to be prepared for; each includes the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// `cargo xtask build` and `run`.
    Build,
    /// `cargo xtask package`.
    Package,
    /// `cargo xtask test` and `check`, virtual machines included.
    Test,
}

/// Programs that must be there: where it is needed, its name, and the Debian package that has it.
const PROGRAMS: &[(Purpose, &str, &str)] = &[
    (Purpose::Build, "cc", "build-essential"),
    // For the web page. Where node came from elsewhere, npm is part of it.
    (Purpose::Build, "node", "nodejs"),
    (Purpose::Build, "npm", "npm"),
    (Purpose::Test, "chromium", "chromium"),
    (Purpose::Test, "dbus-daemon", "dbus-daemon"),
    // The reference parser of OpenMetrics, which is no program.
    (
        Purpose::Test,
        "/usr/lib/python3/dist-packages/prometheus_client/__init__.py",
        "python3-prometheus-client",
    ),
    // `memmon top` is tested in it.
    (Purpose::Test, "tmux", "tmux"),
    (Purpose::Test, "zstd", "zstd"),
];

/// Installs what is missing for `purpose`, and says what it does.
///
/// # Errors
/// If something cannot be installed; the message says what to do by hand.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let started = Instant::now();
    step("programs", || {
        let missing = missing_packages(purpose, |program| find_program(program).is_some());
        if missing.is_empty() {
            return Ok("present".to_owned());
        }
        apt::install(&missing)?;
        Ok(format!("installed {}", missing.join(", ")))
    })?;
    let toolchain = bpf::ensure_rustc()?;
    bpf::ensure_linker(&toolchain)?;
    for tool in tools::ALL.iter().filter(|tool| tool.needed_for <= purpose) {
        step(tool.package, || tools::ensure(tool))?;
    }
    eprintln!("xtask: set up in {} s", started.elapsed().as_secs());
    Ok(())
}

/// Installs a Python that can make virtual environments, if there is none. Debian has that in a package of its own.
///
/// # Errors
/// If it cannot be installed; the message says what to do by hand.
pub(crate) fn ensure_python() -> Result<()> {
    let usable = || {
        let mut python = Command::new("python3");
        python.args(["-c", "import ensurepip, venv"]);
        python.output().is_ok_and(|output| output.status.success())
    };
    step("python", || {
        if usable() {
            return Ok("present".to_owned());
        }
        apt::install(&["python3", "python3-venv"])?;
        Ok("installed python3, python3-venv".to_owned())
    })
}

/// Runs one step and says what came of it.
fn step(name: &str, work: impl FnOnce() -> Result<String>) -> Result<()> {
    let outcome = work()?;
    eprintln!("xtask: setup: {name}: {outcome}");
    Ok(())
}

fn missing_packages(purpose: Purpose, is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let of_vms = vm::HOST_PROGRAMS
        .iter()
        .map(|(program, package)| (Purpose::Test, *program, *package));
    let needed = PROGRAMS
        .iter()
        .copied()
        .chain(of_vms)
        .filter(|(needed_for, ..)| *needed_for <= purpose);
    needed
        .filter(|(_, program, _)| !is_there(program))
        .map(|(.., package)| package)
        .collect()
}

/// Where `program` is; also where only root's PATH leads.
fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(program))
        .find(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests;
