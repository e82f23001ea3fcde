//! Units: written, started, asked about, and gone after the case.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{Ctx, cgroup::Cgroup, shell, undo::Undo};

/// A unit of the system manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    name: String,
}

impl Unit {
    /// The unit of that name, loaded or not.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Its full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it and waits until it is up (a notifying service: until it says so).
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(&self) -> Result<()> {
        shell::run("systemctl", &["start", &self.name]).map(drop)
    }

    /// Stops it and waits until it is down.
    ///
    /// # Errors
    /// If it does not go down.
    pub fn stop(&self) -> Result<()> {
        shell::run("systemctl", &["stop", &self.name]).map(drop)
    }

    /// Stops and starts it.
    ///
    /// # Errors
    /// If it does not come up again.
    pub fn restart(&self) -> Result<()> {
        shell::run("systemctl", &["restart", &self.name]).map(drop)
    }

    /// Sends a signal to its main process.
    ///
    /// # Errors
    /// If it has none.
    pub fn kill(&self, signal: &str) -> Result<()> {
        let args = ["kill", "--kill-whom=main", "-s", signal, &self.name];
        shell::run("systemctl", &args).map(drop)
    }

    /// A property as `systemctl show` prints it: `infinity` for an unlimited MemorySwapMax.
    ///
    /// # Errors
    /// If systemctl fails.
    pub fn property(&self, name: &str) -> Result<String> {
        shell::run("systemctl", &["show", "-P", name, &self.name])
    }

    /// Sets a property as an operator does, until reboot or for good.
    ///
    /// # Errors
    /// If systemd refuses.
    pub fn set_property(&self, assignment: &str, runtime: bool) -> Result<()> {
        let mut args = vec!["set-property"];
        if runtime {
            args.push("--runtime");
        }
        args.extend([self.name.as_str(), assignment]);
        shell::run("systemctl", &args).map(drop)
    }

    /// Its cgroup.
    ///
    /// # Errors
    /// If it has none because it is not running.
    pub fn cgroup(&self) -> Result<Cgroup> {
        let name = self.property("ControlGroup")?;
        ensure!(!name.is_empty(), "{} has no cgroup: it is not running", self.name);
        Ok(Cgroup::named(&name))
    }

    /// The main process.
    ///
    /// # Errors
    /// If it has none.
    pub fn main_pid(&self) -> Result<u32> {
        let text = self.property("MainPID")?;
        let pid = text.parse().with_context(|| format!("MainPID={text}"))?;
        ensure!(pid != 0, "{} has no main process", self.name);
        Ok(pid)
    }

    /// Its journal since boot.
    ///
    /// # Errors
    /// If journalctl fails.
    pub fn journal(&self) -> Result<String> {
        shell::run(
            "journalctl",
            &["--no-pager", "-b", "-o", "short-monotonic", "-u", &self.name],
        )
    }

    /// The drop-in directories that `systemctl set-property` and memmon write to.
    fn control_directories(&self) -> [PathBuf; 2] {
        ["/run/systemd/system.control", "/etc/systemd/system.control"]
            .map(|dir| PathBuf::from(dir).join(format!("{}.d", self.name)))
    }
}

/// Has systemd read its unit files again.
///
/// # Errors
/// If it does not answer.
pub fn daemon_reload() -> Result<()> {
    shell::run("systemctl", &["daemon-reload"]).map(drop)
}

/// Has systemd know a unit's files as they are now. What is not loaded is read when asked about; only for a
/// unit that is, everything has to be read again, which takes seconds in an emulated machine.
///
/// # Errors
/// If systemd does not answer.
pub fn read_unit(name: &str) -> Result<()> {
    match shell::run("systemctl", &["show", "-P", "NeedDaemonReload", name])?.as_str() {
        "yes" => daemon_reload(),
        _ => Ok(()),
    }
}

impl Ctx {
    /// Writes the file of a unit that systemd does not know yet; it reads it when the unit is first named. The
    /// unit is stopped and the file removed after the case, with whatever `set-property` left.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn unit_file(&self, name: &str, content: &str) -> Result<Unit> {
        let unit = Unit::named(name);
        // Neither can a template be loaded or stopped: its instances can, see `instance`.
        let template = name.contains("@.");
        if !template {
            self.undo().note(&Undo::ReadUnit(name.to_owned()))?;
        }
        for directory in unit.control_directories() {
            self.undo().note(&Undo::Remove(directory))?;
        }
        self.write_file(format!("/etc/systemd/system/{name}"), content)?;
        if !template {
            self.undo().note(&Undo::StopUnit(name.to_owned()))?;
            read_unit(name)?;
        }
        Ok(unit)
    }

    /// Writes a drop-in (`override.conf`) of a unit, without having systemd read it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn drop_in(&self, unit: &Unit, file: &str, content: &str) -> Result<()> {
        self.undo().note(&Undo::DaemonReload)?;
        let directory = PathBuf::from(format!("/etc/systemd/system/{}.d", unit.name()));
        self.undo().note(&Undo::Remove(directory.clone()))?;
        self.write_file(directory.join(file), content)
    }

    /// Starts a command as a transient unit, as `systemd-run` does, with properties as `Name=value`.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn transient_unit(&self, name: &str, properties: &[&str], command: &[&str]) -> Result<Unit> {
        let unit = Unit::named(name);
        for directory in unit.control_directories() {
            self.undo().note(&Undo::Remove(directory))?;
        }
        self.undo().note(&Undo::StopUnit(name.to_owned()))?;
        let unit_option = format!("--unit={name}");
        let mut args = vec!["--quiet", "--collect", &unit_option];
        for property in properties {
            args.extend(["-p", property]);
        }
        args.push("--");
        args.extend(command);
        shell::run("systemd-run", &args)?;
        Ok(unit)
    }

    /// The instance of a template written by [`Ctx::unit_file`]: `a@.service` and `7` give `a@7.service`.
    ///
    /// # Errors
    /// If the steps back cannot be written down.
    pub fn instance(&self, template: &Unit, instance: &str) -> Result<Unit> {
        let unit = Unit::named(template.name().replacen("@.", &format!("@{instance}."), 1));
        self.undo().note(&Undo::ReadUnit(unit.name().to_owned()))?;
        for directory in unit.control_directories() {
            self.undo().note(&Undo::Remove(directory))?;
        }
        self.undo().note(&Undo::StopUnit(unit.name().to_owned()))?;
        read_unit(unit.name())?;
        Ok(unit)
    }
}
