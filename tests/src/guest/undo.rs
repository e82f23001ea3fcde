//! What a case has to have undone, written down before it is done: a case that is killed cleans up nothing.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{cgroup::Cgroup, package, shell, units, wait};

/// One step back.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum Undo {
    /// Stop a unit, whatever state it is in.
    StopUnit(String),
    /// Start a unit that the case stops.
    StartUnit(String),
    /// Remove a file or a directory with all that is in it.
    Remove(PathBuf),
    /// Stop swapping to a device or file.
    SwapOff(PathBuf),
    /// Free a zram device's memory.
    ResetZram(PathBuf),
    /// Write a value back into a file of /proc or /sys.
    Restore(PathBuf, String),
    /// Give a process its ordinary share of the CPUs again.
    Schedule(u32),
    /// Kill everything in a cgroup and remove it with those below.
    RemoveCgroup(PathBuf),
    /// Have systemd forget a unit's removed files.
    ReadUnit(String),
    /// Have systemd read its unit files again.
    DaemonReload,
    /// Unmount a file system.
    Unmount(PathBuf),
    /// Set the wall clock to so many seconds after boot time.
    Clock(i64),
    /// Purge the package of memmon, and put the link in its program's place.
    Package,
}

/// The list, in a file, so that it outlives the process of the case.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// The list at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes down a step, before what it undoes is done.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note(&self, step: &Undo) -> Result<()> {
        let mut line = serde_json::to_string(step)?;
        line.push('\n');
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .with_context(|| format!("opening {}", self.path.display()))?;
        file.write_all(line.as_bytes())
            .with_context(|| format!("writing {}", self.path.display()))
    }

    /// Takes every step, the last first, and forgets them. A step that fails does not keep the others from
    /// being taken.
    ///
    /// # Errors
    /// What went wrong, all of it: the next case would not start from a clean machine.
    pub fn undo(&self) -> Result<()> {
        let steps = self.steps()?;
        let (units, others): (Vec<&Undo>, Vec<&Undo>) = steps
            .iter()
            .rev()
            .partition(|step| matches!(step, Undo::StopUnit(_)));
        let mut failures = Vec::new();
        // All units first, and together: nothing that is undone later needs one of them.
        if let Err(error) = stop(&units) {
            failures.push(format!("{error:#}"));
        }
        for step in others {
            if let Err(error) = take(step) {
                failures.push(format!("{step:?}: {error:#}"));
            }
        }
        if self.path.exists() {
            fs::remove_file(&self.path).with_context(|| format!("removing {}", self.path.display()))?;
        }
        anyhow::ensure!(failures.is_empty(), "cleaning up: {}", failures.join("; "));
        Ok(())
    }

    fn steps(&self) -> Result<Vec<Undo>> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.with_context(|| format!("reading {}", self.path.display()))?,
        };
        let mut steps = Vec::new();
        for line in text.lines() {
            let step = serde_json::from_str(line).with_context(|| format!("a step back: {line}"))?;
            // Reloading once is enough, and with the first noted last it comes after every removal.
            if step != Undo::DaemonReload || !steps.contains(&step) {
                steps.push(step);
            }
        }
        Ok(steps)
    }
}

/// Stops units with as few calls as possible: each takes a fifth of a second in an emulated machine.
fn stop(steps: &[&Undo]) -> Result<()> {
    let units: Vec<&str> = steps
        .iter()
        .filter_map(|step| match step {
            Undo::StopUnit(unit) => Some(unit.as_str()),
            _ => None,
        })
        .collect();
    if units.is_empty() {
        return Ok(());
    }
    let all = |words: &[&'static str]| [words, &units].concat();
    // Nothing a test started deserves the time of an orderly end. Units that never got loaded, or are gone
    // with their last process, are errors of both commands; what counts is how it is afterwards.
    let _ = shell::run("systemctl", &all(&["kill", "-s", "KILL"]));
    let _ = shell::run("systemctl", &all(&["stop"]));
    let shown = shell::run("systemctl", &all(&["show", "-p", "Id", "-p", "ActiveState"]))?;
    let mut left = Vec::new();
    let mut failed = Vec::new();
    for unit in shown.split("\n\n") {
        let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name));
        match value("ActiveState=") {
            Some("inactive") => {}
            Some("failed") => failed.extend(value("Id=")),
            _ => left.push(unit.replace('\n', " ")),
        }
    }
    if !failed.is_empty() {
        shell::run("systemctl", &[&["reset-failed"][..], &failed].concat())?;
    }
    anyhow::ensure!(left.is_empty(), "not stopped: {}", left.join("; "));
    Ok(())
}

fn take(step: &Undo) -> Result<()> {
    match step {
        // Together with the others, see `stop`.
        Undo::StopUnit(_) => Ok(()),
        Undo::StartUnit(unit) => shell::run("systemctl", &["start", unit]).map(drop),
        Undo::Remove(path) => gone(if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }),
        Undo::SwapOff(device) => {
            let swaps = fs::read_to_string("/proc/swaps").context("reading /proc/swaps")?;
            let active = swaps.lines().any(|line| {
                let first = line.split_whitespace().next();
                first.is_some_and(|name| Path::new(name) == device)
            });
            if active {
                shell::run("swapoff", &[&device.to_string_lossy()])?;
            }
            Ok(())
        }
        Undo::ResetZram(sysfs) => reset_zram(sysfs),
        Undo::Restore(path, value) => {
            fs::write(path, value).with_context(|| format!("writing {value:?} to {}", path.display()))
        }
        Undo::Schedule(pid) => shell::run("chrt", &["--other", "--pid", "0", &pid.to_string()]).map(drop),
        Undo::RemoveCgroup(path) => Cgroup::at(path).kill_and_remove(),
        Undo::ReadUnit(unit) => units::read_unit(unit),
        Undo::Unmount(path) => shell::run("umount", &["--lazy", &path.to_string_lossy()]).map(drop),
        Undo::Package => package::purge_and_link(),
        Undo::Clock(offset) => {
            let seconds = offset + clock(rustix::time::ClockId::Boottime);
            shell::run("date", &["--set", &format!("@{seconds}")]).map(drop)
        }
        Undo::DaemonReload => shell::run("systemctl", &["daemon-reload"]).map(drop),
    }
}

impl Undo {
    /// Whatever the wall clock is set to after this, it comes back.
    pub fn clock() -> Self {
        let wall = clock(rustix::time::ClockId::Realtime);
        Self::Clock(wall - clock(rustix::time::ClockId::Boottime))
    }
}

/// Whole seconds of a clock.
fn clock(id: rustix::time::ClockId) -> i64 {
    rustix::time::clock_gettime(id).tv_sec
}

/// udev looks at a device whose swap was turned off, and while it has it open, the kernel refuses.
fn reset_zram(sysfs: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    wait::until(deadline, "zram can be reset", || {
        match fs::write(sysfs.join("reset"), "1") {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(None),
            written => written.context("resetting zram").map(Some),
        }
    })
}

fn gone(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
