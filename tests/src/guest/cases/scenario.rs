//! The scripted shortage: units of every priority, a load that rises until RAM is critical, and how everything is
//! compared with how it was. What `strategies` and `crash` do, each in its own way.

use std::fs;

use anyhow::{Context, Result, ensure};
use memmon::decode::MemInfo;

use crate::guest::{
    Ctx,
    agent::{Agent, Setup, leases},
    shell,
    undo::Undo,
    units::Unit,
    vmstat::Vmstat,
    workload::{Hold, Workload},
};

/// Where the agent keeps its history.
pub const HISTORY: &str = "/var/lib/memmon";
/// What the critical unit holds.
pub const CRITICAL_MIB: u64 = 64;
/// Enough for the critical situation.
const LOAD_MIB: u64 = 160;
/// The critical situation begins so much, a share of RAM, above what is used before the agent starts; the high one, which
/// the agent's own memory must not bring about, a little below.
const CRITICAL_ABOVE: f64 = 0.14;
const HIGH_ABOVE: f64 = 0.10;
/// The slice that all of it is in.
pub const SLICE: &str = "system.slice";

/// The units of the scenario, without the load.
pub struct Company {
    /// Whose pages shall stay.
    pub critical: Workload,
    /// The last that is taken from.
    pub high: Workload,
    /// The second.
    pub medium: Workload,
    /// The first.
    pub low: Workload,
    /// Nothing may ever be done to it.
    pub observed: Workload,
}

impl Company {
    /// Starts the units, each of them filled.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start(ctx: &Ctx) -> Result<Self> {
        let hold = |name: &str, mib| ctx.workload(&format!("s-{name}.service"), &Hold::mib(mib));
        Ok(Self {
            critical: hold("critical", CRITICAL_MIB)?,
            high: hold("high", 24)?,
            medium: hold("medium", 24)?,
            low: hold("low", 128)?,
            observed: hold("observed", 16)?,
        })
    }

    /// All of them, by what they are.
    pub fn units(&self) -> [(&'static str, &Unit); 5] {
        [
            ("critical", &self.critical.unit),
            ("high", &self.high.unit),
            ("medium", &self.medium.unit),
            ("low", &self.low.unit),
            ("observed", &self.observed.unit),
        ]
    }

    /// What would show that something was done to one of them.
    ///
    /// # Errors
    /// If one is not running.
    pub fn traces(&self) -> Result<Traces> {
        let slice = Unit::named(SLICE);
        let units = self.units().map(|(_, unit)| unit);
        Traces::of(units.into_iter().chain([&slice]))
    }
}

/// The configuration for units of these names, with thresholds above what is used now.
fn config(strategies: &str) -> Result<String> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let used = MemInfo::parse(&text).context("parsing /proc/meminfo")?.ram_used();
    let (high, critical) = (used + HIGH_ABOVE, used + CRITICAL_ABOVE);
    Ok(format!(
        "[units]\n\"s-critical.service\" = \"critical\"\n\"s-high.service\" = \"high\"\n\
         \"s-medium.service\" = \"medium\"\n\"s-low.service\" = \"low\"\n\"s-load*.service\" = \"low\"\n\
         \"s-observed.service\" = \"observe\"\n\
         [thresholds]\nram_high = {high:.3}\nram_critical = {critical:.3}\nhysteresis = 0.02\ndwell = \"2s\"\n\
         [reaction]\nhold = \"3s\"\n[strategies]\ngrace = \"2s\"\ncool_down = \"3s\"\n{strategies}\n\
         [history]\ninterval = \"1s\"\n"
    ))
}

/// Installs the agent with that configuration, without starting it.
///
/// # Errors
/// If a file cannot be written.
pub fn agent(ctx: &Ctx, strategies: &str, service: &str) -> Result<Agent> {
    let agent = ctx.agent_installed(&Setup {
        service: &format!("{}\n{service}", Setup::EVERY_SECOND),
        ..Setup::default()
    })?;
    ctx.undo().note(&Undo::Remove(HISTORY.into()))?;
    ctx.agent_config(&config(strategies)?)?;
    Ok(agent)
}

/// The unit that makes the situation critical.
///
/// # Errors
/// If it does not come up.
pub fn load(ctx: &Ctx) -> Result<Workload> {
    ctx.workload("s-load.service", &Hold::mib(LOAD_MIB))
}

/// Bytes of a unit in swap.
///
/// # Errors
/// If it is not running.
pub fn swapped(unit: &Unit) -> Result<u64> {
    unit.cgroup()?.number("memory.swap.current")
}

/// Limits of units, as the kernel and as systemd have them, and the drop-ins of `set-property`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces(Vec<String>);

impl Traces {
    /// As it is now.
    ///
    /// # Errors
    /// If a unit is not running.
    pub fn of<'a>(units: impl IntoIterator<Item = &'a Unit>) -> Result<Self> {
        let mut lines = Vec::new();
        for unit in units {
            let name = unit.name();
            let cgroup = unit.cgroup()?;
            for file in ["memory.low", "memory.high", "memory.swap.max"] {
                lines.push(format!("{name} {file} {}", cgroup.read(file)?));
            }
            let properties = "MemoryLow,MemoryHigh,MemorySwapMax,NeedDaemonReload";
            let shown = shell::run("systemctl", &["show", "-p", properties, name])?;
            lines.extend(shown.lines().map(|line| format!("{name} {line}")));
            for directory in ["/run/systemd/system.control", "/run/systemd/transient"] {
                let found = fs::read_dir(format!("{directory}/{name}.d"));
                let files = found.into_iter().flatten().flatten();
                lines.extend(files.map(|file| format!("{name} {}", file.path().display())));
            }
        }
        Ok(Self(lines))
    }

    /// What is here and not in `other`.
    pub fn unlike(&self, other: &Self) -> Vec<&str> {
        let new = self.0.iter().filter(|line| !other.0.contains(line));
        new.map(String::as_str).collect()
    }

    /// Those that are about one unit.
    pub fn about(&self, unit: &Unit) -> Self {
        let prefix = format!("{} ", unit.name());
        let lines = self.0.iter().filter(|line| line.starts_with(&prefix));
        Self(lines.cloned().collect())
    }
}

/// Waits until everything is as it was in `before` and no lease is left.
///
/// # Errors
/// If that does not happen; the message says what is different.
pub fn wait_all_back(ctx: &Ctx, company: &Company, before: &Traces) -> Result<()> {
    let mut seen = String::new();
    ctx.wait("every limit is back and no lease is left", || {
        let (now, leases) = (company.traces()?, leases()?);
        let done = leases.is_empty() && now == *before;
        if !done {
            let (new, gone) = (now.unlike(before), before.unlike(&now));
            seen = format!("new {new:?}, missing {gone:?}, leases {leases:?}");
        }
        Ok(done.then_some(()))
    })
    .with_context(|| seen)
}

/// Who must live: nobody of the company is killed, by the kernel or otherwise.
#[derive(Clone, Debug)]
pub struct Alive {
    pids: Vec<u32>,
    vmstat: Vmstat,
}

impl Alive {
    /// As it is now.
    ///
    /// # Errors
    /// If a unit is not running.
    pub fn now(company: &Company) -> Result<Self> {
        let pids = company.units().into_iter().map(|(_, unit)| unit.main_pid());
        Ok(Self {
            pids: pids.collect::<Result<_>>()?,
            vmstat: Vmstat::read()?,
        })
    }

    /// That all of them are the same processes, and the kernel killed nobody at all.
    ///
    /// # Errors
    /// If one is not.
    pub fn require(&self, company: &Company) -> Result<()> {
        let now = Self::now(company)?;
        let kills = now.vmstat.since(&self.vmstat, "oom_kill")?;
        ensure!(kills == 0, "{kills} processes were OOM-killed");
        ensure!(
            now.pids == self.pids,
            "main processes were {:?} and are {:?}",
            self.pids,
            now.pids
        );
        Ok(())
    }
}
