//! Commands as an operator tries them that change something: `config units` and `adopt`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Setup, SwapLimit, push_out, wait_on_bus},
    cgroup::Cgroup,
    shell,
    undo::Undo,
    units::Unit,
    workload::{Hold, tell},
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "commands.config-units",
        run: config_units,
        seconds: 60,
    },
    Case {
        name: "commands.config-units-on-lease",
        run: config_units_on_lease,
        seconds: 90,
    },
    Case {
        name: "commands.adopt",
        run: adopt,
        seconds: 180,
    },
];

/// Shown, installed, in force, found installed, and taken away again, while the unit runs on.
fn config_units(ctx: &mut Ctx) -> Result<Outcome> {
    const UNIT: &str = "commanded.service";
    let unit = ctx.workload(UNIT, &Hold::mib(16))?.unit;
    ctx.agent_config(&format!("[units]\n\"{UNIT}\" = \"critical\"\n"))?;
    let drop_ins = PathBuf::from(format!("/etc/systemd/system/{UNIT}.d"));
    ctx.undo().note(&Undo::DaemonReload)?;
    ctx.undo().note(&Undo::Remove(drop_ins.clone()))?;
    let command = |more: &[&str]| shell::run("memmon", &[&["config", "units", UNIT], more].concat());
    let limits = || -> Result<Vec<String>> {
        ["MemoryLow", "MemorySwapMax", "LimitMEMLOCK", "OOMScoreAdjust"]
            .iter()
            .map(|property| unit.property(property))
            .collect()
    };
    let (before, pid) = (limits()?, unit.main_pid()?);

    let shown = command(&[])?;
    for line in [
        "+[Service]",
        "+MemoryLow=",
        "+MemorySwapMax=0",
        "+OOMScoreAdjust=-900",
    ] {
        ensure!(shown.contains(line), "{line} is not in the diff:\n{shown}");
    }
    ensure!(
        limits()? == before && !drop_ins.exists(),
        "showing changed something"
    );

    let applied = command(&["--apply"])?;
    ensure!(
        applied.contains("need a restart"),
        "what is not in force yet is not told:\n{applied}"
    );
    let mut found = String::new();
    ctx.wait("the limits are in force", || {
        let cgroup = unit.cgroup()?;
        let (low, swap) = (cgroup.read("memory.low")?, cgroup.read("memory.swap.max")?);
        let same = low == unit.property("MemoryLow")? && low != "0";
        found = format!(
            "memory.low {low}, memory.swap.max {swap}; systemd has {:?}",
            limits()?
        );
        Ok((same && swap == "0").then_some(()))
    })
    .with_context(|| found.clone())?;
    ensure!(unit.main_pid()? == pid, "the unit was restarted");
    let again = command(&["--apply"])?;
    ensure!(again.contains("nothing to install"), "{again}");
    unit.restart()?;
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", unit.main_pid()?))?;
    ensure!(score.trim() == "-900", "oom_score_adj is {score}");

    let reverted = command(&["--revert"])?;
    ensure!(reverted.contains("removed") && !drop_ins.exists(), "{reverted}");
    ensure!(limits()? == before, "{:?} before, now {:?}", before, limits()?);
    ctx.wait("the limits are gone", || {
        let cgroup = unit.cgroup()?;
        let gone = cgroup.read("memory.low")? == "0" && cgroup.read("memory.swap.max")? == "max";
        Ok(gone.then_some(()))
    })?;
    let nothing = command(&["--revert"])?;
    ensure!(nothing.contains("nothing is installed"), "{nothing}");
    Outcome::passed("shown, installed, in force, found there, removed")
}

/// While memmon holds a limit that the drop-in sets as well, the lease goes on, and what is left after its end is what
/// the unit's files say: with the drop-in, and without it.
fn config_units_on_lease(ctx: &mut Ctx) -> Result<Outcome> {
    const INSTALLED: &str = "leased-installed.service";
    const REMOVED: &str = "leased-removed.service";
    ctx.swap_on_zram(128)?;
    let mut units = Vec::new();
    for name in [INSTALLED, REMOVED] {
        units.push(ctx.workload(name, &Hold::mib(4))?.unit);
        let drop_ins = PathBuf::from(format!("/etc/systemd/system/{name}.d"));
        ctx.undo().note(&Undo::DaemonReload)?;
        ctx.undo().note(&Undo::Remove(drop_ins))?;
    }
    let agent = ctx.agent(&Setup {
        critical: &[INSTALLED, REMOVED],
        ..Setup::default()
    })?;
    let command = |unit: &str, what: &str| shell::run("memmon", &["config", "units", unit, what]);
    for unit in &units {
        push_out(&unit.cgroup()?)?;
        ctx.wait_tightened(unit)?;
        command(unit.name(), "--apply")?;
    }
    command(REMOVED, "--revert")?;
    for unit in &units {
        let (limit, low) = (SwapLimit::of(unit)?, unit.cgroup()?.read("memory.low")?);
        ensure!(
            limit.file == "0" && limit.property == "0" && (low != "0") == (unit.name() == INSTALLED),
            "{}: {limit:?}, memory.low is {low}",
            unit.name()
        );
    }
    agent.stop()?;
    agent.told(ctx, Message::LeaseKept, INSTALLED, |entry| {
        entry.text().contains("configured as 0 now")
    })?;
    ctx.require_limit(
        &units[0],
        &SwapLimit {
            file: "0".to_owned(),
            property: "0".to_owned(),
            drop_ins: Vec::new(),
        },
    )?;
    ctx.require_limit(&units[1], &SwapLimit::untouched())?;
    for unit in &units {
        let low = unit.cgroup()?.read("memory.low")?;
        ensure!(
            low == unit.property("MemoryLow")?,
            "{}: memory.low is {low}",
            unit.name()
        );
    }
    Outcome::passed("installed and removed beside a lease: what is left is what the files say")
}

/// A process of nobody's unit gets a scope, the scope is protected, and the process goes back.
fn adopt(ctx: &mut Ctx) -> Result<Outcome> {
    const SCOPE: &str = "adopted.scope";
    ctx.swap_on_zram(128)?;
    let home = Cgroup::named("/memmon-adopt");
    ctx.undo().note(&Undo::RemoveCgroup(home.path().to_owned()))?;
    fs::create_dir(home.path()).context("making a cgroup")?;
    ctx.undo().note(&Undo::StopUnit(SCOPE.to_owned()))?;
    for left in ["/run/memmon/adopted", "/run/memmon/memmon.toml.d"] {
        ctx.undo().note(&Undo::Remove(left.into()))?;
    }
    let agent = ctx.agent(&Setup::default())?;
    wait_on_bus(ctx)?;
    let socket = Path::new("/run/memmon-test-adopted.sock");
    ctx.undo().note(&Undo::Remove(socket.to_owned()))?;
    let process = Process(
        Command::new("/usr/bin/memmon-workload")
            .args(["hold", "--mib=8"])
            .arg(format!("--control={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting a process")?,
    );
    let pid = process.0.id().to_string();
    let of_a_service = Command::new("memmon")
        .args(["adopt", "--pid", &pid, "--unit", SCOPE, "--priority", "critical"])
        .output()?;
    let said = String::from_utf8_lossy(&of_a_service.stderr).into_owned();
    ensure!(
        of_a_service.status.code() == Some(2) && said.contains("belongs to memmon-vmtest.service"),
        "{said}"
    );
    home.write("cgroup.procs", &pid)?;
    ctx.wait("it holds its memory", || Ok(socket.exists().then_some(())))?;

    let said = shell::run(
        "memmon",
        &["adopt", "--pid", &pid, "--unit", SCOPE, "--priority", "critical"],
    )?;
    ensure!(said.contains("holds 1 process"), "{said}");
    let scope = Unit::named(SCOPE);
    let cgroup = scope.cgroup()?;
    ensure!(cgroup.processes()? == [process.0.id()], "it is not in its scope");
    // What it has stays charged to where it was; a child's copies are the scope's.
    let child = tell(socket, "fork 1024")?;
    push_out(&cgroup)?;
    agent.told(ctx, Message::AlarmRaised, SCOPE, |_| true)?;
    ctx.wait("the scope may not swap", || {
        Ok((SwapLimit::of(&scope)?.file == "0").then_some(()))
    })?;

    shell::run("kill", &["-KILL", &child])?;
    ctx.wait("the child is gone", || {
        Ok((cgroup.processes()?.len() == 1).then_some(()))
    })?;
    let said = shell::run("memmon", &["adopt", "--release", "--unit", SCOPE])?;
    ensure!(said.contains("are back"), "{said}");
    ensure!(
        home.processes()? == [process.0.id()],
        "it is not back where it came from"
    );
    ctx.wait("the empty scope has ended", || {
        Ok((scope.property("ActiveState")? != "active").then_some(()))
    })?;
    agent.stop()?;
    Outcome::passed("a process was adopted, its scope protected, and it went back")
}

/// It ends with the case.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
