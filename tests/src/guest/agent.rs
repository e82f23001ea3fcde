//! The agent in its packaged unit, and what it tells the journal.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use memmon::export::journal::Message;
use serde_json::Value;

use super::{Ctx, cgroup::Cgroup, ctx::PAYLOAD, shell, undo::Undo, units::Unit};

/// The agent's unit.
pub const UNIT: &str = "memmon.service";
/// What must be put back.
pub const LEASES: &str = "/run/memmon/leases.json";
const RUNTIME: &str = "/run/memmon";
const CONFIG: &str = "/etc/memmon/memmon.toml";

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
        let packaged = Path::new(PAYLOAD).join("packaging").join(UNIT);
        let content =
            fs::read_to_string(&packaged).with_context(|| format!("reading {}", packaged.display()))?;
        if !setup.service.is_empty() {
            let unit = Unit::named(UNIT);
            self.drop_in(&unit, "test.conf", &format!("[Service]\n{}\n", setup.service))?;
        }
        let unit = self.unit_file(UNIT, &content)?;
        Ok(Agent { unit, since })
    }

    /// Writes another configuration for the agent, which does not read it by itself.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn agent_config(&self, content: &str) -> Result<()> {
        self.write_file(CONFIG, content)
    }
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

    /// Microseconds from a page's kernel timestamp to the limit in force, for every limit set on `unit`.
    ///
    /// # Errors
    /// If journalctl fails or the agent logged something else there.
    pub fn reactions_us(&self, unit: &str) -> Result<Vec<u64>> {
        let entries = self.since.entries(&[&format!("MEMMON_UNIT={unit}")])?;
        let reactions = entries
            .iter()
            .filter_map(|entry| entry.field("MEMMON_REACTION_US"));
        reactions
            .map(|text| text.parse().with_context(|| format!("a reaction time: {text}")))
            .collect()
    }
}

/// A place in the journal.
#[derive(Clone, Debug)]
pub struct Cursor(String);

impl Cursor {
    /// Where the journal ends now.
    ///
    /// # Errors
    /// If journalctl fails or the journal is empty.
    pub fn now() -> Result<Self> {
        let last = shell::run("journalctl", &["-q", "-b", "-n", "1", "-o", "json"])?;
        let last = Entry::parse(&last)?;
        let cursor = last.field("__CURSOR").context("a journal entry has no cursor")?;
        Ok(Self(cursor.to_owned()))
    }

    /// Entries after it that match journalctl's `matches` (`FIELD=value`, `-u`, …), the oldest first.
    ///
    /// # Errors
    /// If journalctl fails.
    pub fn entries(&self, matches: &[&str]) -> Result<Vec<Entry>> {
        let after = format!("--after-cursor={}", self.0);
        let mut args = vec!["-q", "-o", "json", &after];
        args.extend(matches);
        let shown = shell::run("journalctl", &args)?;
        shown.lines().map(Entry::parse).collect()
    }
}

/// One entry of the journal.
#[derive(Clone, Debug)]
pub struct Entry(Value);

impl Entry {
    fn parse(line: &str) -> Result<Self> {
        let entry = serde_json::from_str(line).with_context(|| format!("a journal entry: {line}"))?;
        Ok(Self(entry))
    }

    /// A field's value; `None` if it is absent or not text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// The sentence.
    pub fn text(&self) -> &str {
        self.field("MESSAGE").unwrap_or_default()
    }

    /// Requires fields to have these values.
    ///
    /// # Errors
    /// The first that has another.
    pub fn require(&self, fields: &[(&str, &str)]) -> Result<()> {
        for (name, value) in fields {
            let found = self.field(name);
            ensure!(
                found == Some(value),
                "{name} is {found:?}, not {value:?}, in: {}",
                self.text()
            );
        }
        Ok(())
    }

    /// A field that holds a number.
    ///
    /// # Errors
    /// If it is absent or holds something else.
    pub fn number(&self, name: &str) -> Result<u64> {
        let text = self
            .field(name)
            .with_context(|| format!("no {name} in: {}", self.text()))?;
        text.parse().with_context(|| format!("{name}={text}"))
    }
}

/// The leases on record, by the lease file alone; none if there is no file.
///
/// # Errors
/// If the file is not what the agent writes.
pub fn leases() -> Result<Vec<Value>> {
    let text = match fs::read_to_string(LEASES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("reading {LEASES}"))?,
    };
    let mut live: Vec<Value> = Vec::new();
    for line in text.lines() {
        let entry: Value =
            serde_json::from_str(line).with_context(|| format!("a line of {LEASES}: {line}"))?;
        let (lease, ended) = (entry.get("lease"), entry.get("ended"));
        let id = match (lease, ended) {
            (Some(lease), None) => lease.get("id"),
            (None, Some(id)) => Some(id),
            _ => None,
        };
        let Some(id) = id else {
            bail!("a line of {LEASES} is neither a lease nor its end: {line}");
        };
        live.retain(|known| known.get("id") != Some(id));
        live.extend(lease.cloned());
    }
    Ok(live)
}

/// The leases of one unit.
///
/// # Errors
/// As [`leases`].
pub fn leases_of(unit: &Unit) -> Result<Vec<Value>> {
    let mut leases = leases()?;
    leases.retain(|lease| lease.get("unit").and_then(Value::as_str) == Some(unit.name()));
    Ok(leases)
}

/// A unit's swap limit as the kernel and as systemd have it, and memmon's traces in systemd's directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapLimit {
    /// memory.swap.max.
    pub file: String,
    /// MemorySwapMax.
    pub property: String,
    /// Drop-ins that `SetUnitProperties` wrote.
    pub drop_ins: Vec<PathBuf>,
}

impl SwapLimit {
    /// As it is now.
    ///
    /// # Errors
    /// If the unit is not running.
    pub fn of(unit: &Unit) -> Result<Self> {
        Ok(Self {
            file: unit.cgroup()?.read("memory.swap.max")?,
            property: unit.property("MemorySwapMax")?,
            drop_ins: drop_ins(unit),
        })
    }

    /// No limit, and no trace of one.
    pub fn untouched() -> Self {
        Self {
            file: "max".to_owned(),
            property: "infinity".to_owned(),
            drop_ins: Vec::new(),
        }
    }
}

/// The files that `SetUnitProperties(MemorySwapMax, runtime)` may have left for a unit.
fn drop_ins(unit: &Unit) -> Vec<PathBuf> {
    ["/run/systemd/system.control", "/run/systemd/transient"]
        .map(|directory| {
            PathBuf::from(directory)
                .join(format!("{}.d", unit.name()))
                .join("50-MemorySwapMax.conf")
        })
        .into_iter()
        .filter(|path| path.exists())
        .collect()
}

impl Ctx {
    /// Waits until the kernel and systemd agree that the unit may not swap, and the lease says so.
    ///
    /// # Errors
    /// If that does not happen, or the lease file is damaged.
    pub fn wait_tightened(&self, unit: &Unit) -> Result<()> {
        let cgroup = unit.cgroup()?;
        self.wait(&format!("{} may not swap", unit.name()), || {
            Ok((cgroup.read("memory.swap.max")? == "0").then_some(()))
        })?;
        self.wait(&format!("MemorySwapMax of {} is 0", unit.name()), || {
            Ok((unit.property("MemorySwapMax")? == "0").then_some(()))
        })?;
        self.wait(&format!("the lease on {} is official", unit.name()), || {
            let official = |lease: &Value| lease.get("state").and_then(Value::as_str) == Some("official");
            Ok(leases_of(unit)?.iter().any(official).then_some(()))
        })
    }

    /// Waits until the unit's limit is `wanted` and no lease on it is left.
    ///
    /// # Errors
    /// If that does not happen; the message says how it is instead.
    pub fn wait_limit(&self, unit: &Unit, wanted: &SwapLimit) -> Result<()> {
        let mut seen = None;
        let waited = self.wait(
            &format!("the limit of {} is as it should be", unit.name()),
            || {
                let now = SwapLimit::of(unit)?;
                let done = now == *wanted && leases_of(unit)?.is_empty();
                seen = Some(now);
                Ok(done.then_some(()))
            },
        );
        waited.with_context(|| format!("wanted {wanted:?}, seen {seen:?}, leases {:?}", leases_of(unit)))
    }

    /// As [`Ctx::wait_limit`], at once: what must already be so.
    ///
    /// # Errors
    /// If it is not.
    pub fn require_limit(&self, unit: &Unit, wanted: &SwapLimit) -> Result<()> {
        let (now, leases) = (SwapLimit::of(unit)?, leases_of(unit)?);
        ensure!(
            now == *wanted && leases.is_empty(),
            "{}: wanted {wanted:?}, seen {now:?}, leases {leases:?}",
            unit.name()
        );
        Ok(())
    }
}

/// Has a root shell's memory.reclaim take all of a cgroup.
///
/// # Errors
/// If it fails otherwise than by taking less.
pub fn push_out(cgroup: &Cgroup) -> Result<()> {
    cgroup.reclaim(cgroup.number("memory.current")?)
}

/// How long things may take that take milliseconds on a real machine.
pub const SOON: Duration = Duration::from_secs(20);
