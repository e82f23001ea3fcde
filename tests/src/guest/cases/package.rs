//! The Debian package: installed, used, upgraded, removed, purged.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{SwapLimit, leases_of, push_out, wait_on_bus},
    http,
    package::{self, CONFIG, NAME},
    shell,
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "package.life",
        run: life,
        seconds: 300,
    },
    Case {
        name: "package.activated",
        run: activated,
        seconds: 120,
    },
];

/// How exposed the unit may be, by `systemd-analyze security`.
const EXPOSURE: f64 = 2.5;

/// The main job by the packaged unit, also after a kill; an upgrade that keeps the configuration; no trace at the end.
fn life(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let workload = ctx.workload("packaged.service", &Hold::mib(16))?;
    let unit = &workload.unit;
    let agent = ctx.agent_of_package()?;
    ctx.install_package(1)?;
    installed(ctx)?;
    let exposure = exposure()?;
    ctx.measure("exposure", exposure)?;
    ensure!(exposure <= EXPOSURE, "systemd-analyze security says {exposure}");

    safe_from_shortage(agent.unit.main_pid()?)?;
    let edited = "[units]\n\"packaged.service\" = \"critical\"\n[reaction]\nhold = \"3s\"\n";
    fs::write(CONFIG, edited).with_context(|| format!("writing {CONFIG}"))?;
    agent.reload()?;
    let cgroup = unit.cgroup()?;
    push_out(&cgroup)?;
    agent.told(ctx, Message::AlarmRaised, unit.name(), |_| true)?;
    ctx.wait_tightened(unit)?;
    let explained = shell::run("journalctl", &["-x", "-b", "-u", unit.name()])?;
    ensure!(
        explained.contains("-- Subject: Memory of packaged.service is going to swap"),
        "journalctl -x does not explain the alarm: {explained}"
    );
    ctx.say("the packaged unit has stopped the swapping, and journalctl -x explains it")?;
    agent.unit.kill("KILL")?;
    ctx.wait_limit(unit, &SwapLimit::untouched())?;
    ctx.wait("the agent is back", || {
        Ok((agent.unit.property("ActiveState")? == "active").then_some(()))
    })?;
    ctx.say("killed while it held the limit: its next start has put it back")?;
    // Also when systemd has started it again.
    safe_from_shortage(agent.unit.main_pid()?)?;
    push_out(&cgroup)?;
    ctx.wait_tightened(unit)?;
    ctx.wait_limit(unit, &SwapLimit::untouched())?;
    agent.told(ctx, Message::AlarmCleared, unit.name(), |_| true)?;

    let before = agent.unit.main_pid()?;
    ctx.install_package(2)?;
    ensure!(package::state()?.ends_with("-2"), "{}", package::state()?);
    ensure!(
        fs::read_to_string(CONFIG)? == edited,
        "the upgrade has changed {CONFIG}"
    );
    ctx.wait("the upgraded agent runs", || {
        let active = agent.unit.property("ActiveState")? == "active";
        Ok((active && agent.unit.main_pid()? != before).then_some(()))
    })?;
    wait_on_bus(ctx)?;
    ctx.say("upgraded: the new program runs with the edited configuration")?;

    // Removed while it holds a limit.
    push_out(&cgroup)?;
    ctx.wait_tightened(unit)?;
    package::dpkg(&["--remove", NAME])?;
    ctx.require_limit(unit, &SwapLimit::untouched())?;
    ensure!(leases_of(unit)?.is_empty(), "a lease has outlived the package");
    ensure!(
        !Path::new("/usr/bin/memmon").exists() && Path::new(CONFIG).exists(),
        "a removal takes the program and leaves the configuration"
    );
    package::dpkg(&["--purge", NAME])?;
    let left = left_over()?;
    ensure!(left.is_empty(), "after the purge there are {left:?}");
    Outcome::passed(format!(
        "exposure {exposure}; installed, killed, upgraded, removed, purged"
    ))
}

fn installed(ctx: &Ctx) -> Result<()> {
    let active =
        |property| Ok::<_, anyhow::Error>(shell::run("systemctl", &[property, "memmon.service"]).is_ok());
    ensure!(
        active("is-active")? && active("is-enabled")?,
        "the unit does not run after the installation"
    );
    ensure!(!Path::new("/etc/systemd/system/sockets.target.wants/memmon.socket").exists());
    wait_on_bus(ctx)?;
    for file in [
        "/usr/lib/memmon/memmon.toml",
        "/usr/share/man/man1/memmon.1",
        "/usr/share/man/man1/memmon-run.1",
        "/usr/share/bash-completion/completions/memmon",
        "/usr/share/doc/memmon/memmon.rules.yml",
        "/usr/share/doc/memmon/runbooks.md",
        "/usr/share/doc/memmon/grafana.json",
    ] {
        let compressed = format!("{file}.gz");
        ensure!(
            Path::new(file).exists() || Path::new(&compressed).exists(),
            "{file} is not installed"
        );
    }
    let health = http::get(9757, "/healthz")?;
    ensure!(health == Some((200, "ok\n".to_owned())), "{health:?}");
    ctx.say("installed: the unit is enabled, runs, is on D-Bus and serves its metrics")
}

/// Without the capabilities for it, the agent's memory is locked and the OOM killer looks elsewhere.
fn safe_from_shortage(pid: u32) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.trim()))
    };
    let locked = field("VmLck:").and_then(|locked| locked.strip_suffix(" kB")?.trim().parse::<u64>().ok());
    ensure!(
        locked.is_some_and(|locked| locked > 0),
        "nothing of the agent is locked: {status}"
    );
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
    ensure!(score.trim() == "-900", "oom_score_adj is {score}");
    let warned = shell::run(
        "journalctl",
        &["-b", "-u", "memmon.service", "-p", "warning", "-o", "cat"],
    )?;
    ensure!(
        !warned.contains("is not locked") && !warned.contains("oom_score_adj"),
        "{warned}"
    );
    Ok(())
}

/// The figure of `systemd-analyze security`.
fn exposure() -> Result<f64> {
    let said = shell::run("systemd-analyze", &["security", "--no-pager", "memmon.service"])?;
    let figure = said
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for memmon.service: "))
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    figure.with_context(|| format!("systemd-analyze said {said}"))
}

/// Files with memmon's name that are not the test's own.
fn left_over() -> Result<Vec<String>> {
    let roots = [
        "/etc",
        "/usr/lib",
        "/usr/share",
        "/usr/bin",
        "/var/lib/memmon",
        "/run/memmon",
    ];
    let mut arguments = roots.to_vec();
    arguments.extend([
        "-iname",
        "*memmon*",
        "-not",
        "-name",
        "memmon-workload",
        "-not",
        "-name",
        "*vmtest*",
        "-not",
        "-name",
        "memmon-shell.service",
    ]);
    // It fails where a directory does not exist, which is as it should be.
    let found = std::process::Command::new("find")
        .args(arguments)
        .output()
        .context("starting find")?;
    let found = String::from_utf8_lossy(&found.stdout);
    Ok(found.lines().map(str::to_owned).collect())
}

/// memmon.socket holds the port, and memmon serves on what it is handed.
fn activated(ctx: &mut Ctx) -> Result<Outcome> {
    let agent = ctx.agent_of_package()?;
    ctx.install_package(1)?;
    agent.unit.stop()?;
    ensure!(
        http::get(9757, "/healthz")?.is_none(),
        "somebody else has the port"
    );
    shell::run("systemctl", &["start", "memmon.socket"])?;
    // The first connection starts it, and waits for it.
    let health = http::get(9757, "/healthz")?;
    ensure!(health == Some((200, "ok\n".to_owned())), "{health:?}");
    let environment = fs::read(format!("/proc/{}/environ", agent.unit.main_pid()?))?;
    let environment = String::from_utf8_lossy(&environment).into_owned();
    ensure!(environment.contains("LISTEN_FDS=1"), "{environment}");
    let page = http::get(9757, "/metrics")?.context("nobody listens")?;
    ensure!(page.0 == 200 && page.1.contains("memmon_build_info{"), "{page:?}");
    Outcome::passed("a connection started the agent, which serves on systemd's socket")
}
