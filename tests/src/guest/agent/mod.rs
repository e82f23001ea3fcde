//! The agent in its packaged unit, and what it tells the journal.

mod bus;
mod journal;
mod limit;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use memmon::export::journal::Message;
use serde_json::json;

pub use self::{
    bus::{Called, as_user, call, report, wait_on_bus},
    journal::{Cursor, Entry},
    limit::{SwapLimit, leases, leases_of},
};
use super::{Ctx, cgroup::Cgroup, ctx::PAYLOAD, shell, undo::Undo, units::Unit};

/// The agent's unit.
pub const UNIT: &str = "memmon.service";
/// What must be put back.
pub const LEASES: &str = "/run/memmon/leases.json";
const RUNTIME: &str = "/run/memmon";
const CONFIG: &str = "/etc/memmon/memmon.toml";
const BUS_POLICY: &str = "org.omnimind.memmon1.conf";

/// What differs from the shipped configuration and unit.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Patterns of critical units.
    pub critical: &'a [&'a str],
    /// `on_critical_swap`.
    pub reaction: &'a str,
    /// Quiet time before a lease ends.
    pub hold: &'a str,
    /// Lines for the unit's `[Service]` section.
    pub service: &'a str,
}

impl Default for Setup<'_> {
    /// The shipped reaction; leases outlive every case.
    fn default() -> Self {
        Self {
            critical: &[],
            reaction: "auto",
            hold: "10m",
            service: "",
        }
    }
}

impl Setup<'_> {
    /// Looks at leases every second, so that what waits for a quiet second need not wait for five.
    pub const EVERY_SECOND: &'static str = "ExecStart=\nExecStart=/usr/bin/memmon run --interval 1";

    /// The configuration file.
    pub fn config(&self) -> String {
        let units: String = self
            .critical
            .iter()
            .map(|pattern| format!("\"{pattern}\" = \"critical\"\n"))
            .collect();
        let (reaction, hold) = (self.reaction, self.hold);
        format!("[reaction]\non_critical_swap = \"{reaction}\"\nhold = \"{hold}\"\n[units]\n{units}")
    }
}

/// The running agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its unit.
    pub unit: Unit,
    since: Cursor,
}

impl Ctx {
    /// Installs the packaged unit and a configuration and starts the agent; both are gone after the case.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn agent(&self, setup: &Setup<'_>) -> Result<Agent> {
        let agent = self.agent_installed(setup)?;
        agent.unit.start()?;
        Ok(agent)
    }

    /// As [`Ctx::agent`], without starting it.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn agent_installed(&self, setup: &Setup<'_>) -> Result<Agent> {
        let since = Cursor::now()?;
        self.undo().note(&Undo::Remove(RUNTIME.into()))?;
        self.write_file(CONFIG, &setup.config())?;
        self.write_file(
            format!("/etc/dbus-1/system.d/{BUS_POLICY}"),
            &packaged(BUS_POLICY)?,
        )?;
        bus::reload()?;
        let content = packaged(UNIT)?;
        if !setup.service.is_empty() {
            let unit = Unit::named(UNIT);
            self.drop_in(&unit, "test.conf", &format!("[Service]\n{}\n", setup.service))?;
        }
        let unit = self.unit_file(UNIT, &content)?;
        Ok(Agent { unit, since })
    }

    /// The agent of a package that is just being installed.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn agent_of_package(&self) -> Result<Agent> {
        Ok(Agent {
            unit: Unit::named(UNIT),
            since: Cursor::now()?,
        })
    }

    /// Writes another configuration for the agent, which does not read it by itself.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn agent_config(&self, content: &str) -> Result<()> {
        self.write_file(CONFIG, content)
    }
}

/// A shipped file.
fn packaged(file: &str) -> Result<String> {
    let path = Path::new(PAYLOAD).join("packaging").join(file);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

impl Agent {
    /// Stops it (SIGTERM) and waits until it has ended; systemd must find nothing wrong with how it ended.
    ///
    /// # Errors
    /// If it does not end, or not well.
    pub fn stop(&self) -> Result<()> {
        self.unit.stop()?;
        let (state, result) = (self.unit.property("ActiveState")?, self.unit.property("Result")?);
        ensure!(
            state == "inactive" && result == "success",
            "{UNIT} is {state} ({result}) after a stop"
        );
        Ok(())
    }

    /// `systemctl reload`.
    ///
    /// # Errors
    /// If the agent's configuration is broken: that is what the packaged unit checks first.
    pub fn reload(&self) -> Result<()> {
        shell::run("systemctl", &["reload", self.unit.name()]).map(drop)
    }

    /// Entries of this kind since the agent was installed, about `unit` or, with "", about any.
    ///
    /// # Errors
    /// If journalctl fails.
    pub fn entries(&self, message: Message, unit: &str) -> Result<Vec<Entry>> {
        let mut matches = vec![format!("MESSAGE_ID={}", message.id())];
        if !unit.is_empty() {
            matches.push(format!("MEMMON_UNIT={unit}"));
        }
        let matches: Vec<&str> = matches.iter().map(String::as_str).collect();
        self.since.entries(&matches)
    }

    /// Waits for an entry of this kind about `unit` (or, with "", about any) that `wanted` takes.
    ///
    /// # Errors
    /// If there is none in time; the message repeats those that were not taken.
    pub fn told(
        &self,
        ctx: &Ctx,
        message: Message,
        unit: &str,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Entry> {
        let mut others = Vec::new();
        let what = format!("a journal entry {message:?} about {unit:?}");
        let found = ctx.wait(&what, || {
            let entries = self.entries(message, unit)?;
            others = entries.iter().map(|entry| entry.text().to_owned()).collect();
            Ok(entries.into_iter().find(&wanted))
        });
        found.with_context(|| format!("entries of that kind: {others:?}"))
    }

    /// Every sentence of it since it was installed, the oldest first.
    ///
    /// # Errors
    /// If journalctl fails.
    pub fn said(&self) -> Result<Vec<String>> {
        let unit = format!("_SYSTEMD_UNIT={}", self.unit.name());
        let entries = self.since.entries(&[&unit])?;
        Ok(entries.iter().map(|entry| entry.text().to_owned()).collect())
    }

    /// Microseconds from a page's kernel timestamp to the limit in force, for every limit set since the agent
    /// was installed, the oldest first.
    ///
    /// # Errors
    /// If journalctl fails or the agent logged something else there.
    pub fn reactions_us(&self) -> Result<Vec<u64>> {
        let unit = format!("_SYSTEMD_UNIT={}", self.unit.name());
        let entries = self.since.entries(&[&unit])?;
        entries
            .iter()
            .filter(|entry| entry.field("MEMMON_REACTION_US").is_some())
            .map(|entry| entry.number("MEMMON_REACTION_US"))
            .collect()
    }

    /// Reports how long the agent's reactions took. What is too long is for people to judge: an emulated
    /// machine is ten times slower than a real one.
    ///
    /// # Errors
    /// If there were none.
    pub fn measure_reactions(&self, ctx: &Ctx, occasion: &str) -> Result<()> {
        let mut times = self.reactions_us()?;
        times.sort_unstable();
        let (Some(&shortest), Some(&longest)) = (times.first(), times.last()) else {
            bail!("limits were set, but no reaction was logged");
        };
        let value = json!({
            "count": times.len(),
            "min": shortest,
            "median": times[times.len() / 2],
            "max": longest,
        });
        ctx.measure(&format!("reaction_us {occasion}"), value)
    }
}

/// Has a root shell's memory.reclaim take all of a cgroup.
///
/// # Errors
/// If it fails otherwise than by taking less.
pub fn push_out(cgroup: &Cgroup) -> Result<()> {
    cgroup.reclaim(cgroup.number("memory.current")?)
}
