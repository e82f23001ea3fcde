//! The kinds of units there are for a resource limit: systemd keeps the properties of each elsewhere.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{Ctx, undo::Undo, units::Unit, workload::Hold};

impl Ctx {
    /// Names of [`Ctx::every_kind`], without making anything: for drop-ins that must be there before.
    pub fn names_of_every_kind(name: &str) -> [Unit; 3] {
        [
            Unit::named(format!("{name}-file.service")),
            Unit::named(format!("{name}-run.service")),
            Unit::named(format!("{name}@1.service")),
        ]
    }

    /// Starts three units that hold memory: one from a unit file, a transient one, an instance of a template.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn every_kind(&self, name: &str, hold: &Hold<'_>) -> Result<[Unit; 3]> {
        let [file, run, _] = Self::names_of_every_kind(name);
        let template = self.workload_file(&format!("{name}@.service"), hold)?;
        let instance = self.instance(&template.unit, "1")?;
        let file = self.workload(file.name(), hold)?.unit;
        let run = self.transient_workload(run.name(), hold)?.unit;
        instance.start()?;
        Ok([file, run, instance])
    }

    /// Starts a scope that holds memory.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn scope(&self, name: &str, hold: &Hold<'_>) -> Result<Unit> {
        let unit = Unit::named(name);
        let ready = Path::new("/run").join(format!("{name}.sock"));
        self.undo().note(&Undo::Remove(ready.clone()))?;
        self.undo().note(&Undo::StopUnit(name.to_owned()))?;
        // Not waited for: it is part of the case's process group and ends with the scope at the latest.
        Command::new("systemd-run")
            .args(["--quiet", "--scope", &format!("--unit={name}"), "--"])
            .args(["/usr/bin/memmon-workload", "hold", &format!("--mib={}", hold.mib)])
            .arg(format!("--control={}", ready.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting systemd-run --scope")?;
        self.wait(&format!("{name} holds its memory"), || {
            Ok(ready.exists().then_some(()))
        })?;
        Ok(unit)
    }
}
