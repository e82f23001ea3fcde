//! The ground taken away: no bus, no room on disks, a cgroup that vanishes, a clock that jumps.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use memmon::action::fault::Point;

use super::{FAULT, Stage};
use crate::guest::{
    Ctx, Outcome,
    agent::{leases, leases_of},
    cases::scenario::{self, HISTORY, wait_all_back},
    shell,
    undo::Undo,
    wait,
};

/// A whole turn of the scenario without a bus, and the agent killed in it.
pub(super) fn bus(ctx: &mut Ctx) -> Result<Outcome> {
    let stage = Stage::set(ctx)?;
    ctx.undo().note(&Undo::StartUnit("dbus.socket".to_owned()))?;
    shell::run("systemctl", &["stop", "dbus.socket", "dbus.service"])?;
    let load = scenario::load(ctx)?;
    wait_protected(ctx, &stage)?;
    stage.kill(ctx)?;
    load.unit.stop()?;
    stage.start_again(ctx)?;
    ctx.say("put back without a bus")?;
    let load = scenario::load(ctx)?;
    wait_protected(ctx, &stage)?;
    shell::run("systemctl", &["start", "dbus.socket"])?;
    load.unit.stop()?;
    stage.all_back(ctx)?;
    stage.agent.stop()?;
    Outcome::passed("killed and started again without a bus; and the bus came back while limits were changed")
}

/// No room for the history, nor beside the lease file.
pub(super) fn disk(ctx: &mut Ctx) -> Result<Outcome> {
    let stage = Stage::set_with(ctx, || {
        small_disk(ctx, HISTORY, 1 << 20)?;
        small_disk(ctx, "/run/memmon", 256 << 10)?;
        fill(HISTORY)
    })?;
    fill("/run/memmon")?;
    let load = scenario::load(ctx)?;
    // There is room for some leases ahead: the critical unit is protected all the same.
    wait_protected(ctx, &stage)?;
    let taken = leases()?.len();
    stage.bystanders()?;
    stage.kill(ctx)?;
    load.unit.stop()?;
    // Still full: nothing new can be recorded, and what is on record comes back.
    stage.start_again(ctx)?;
    ctx.say("put back with full disks")?;
    let said = stage.agent.said()?;
    ensure!(
        said.iter()
            .any(|text| text.contains("no history is stored for now")),
        "that nothing is stored was not said: {said:?}"
    );
    for directory in [HISTORY, "/run/memmon"] {
        fs::remove_file(Path::new(directory).join("filling")).context("making room")?;
    }
    let load = scenario::load(ctx)?;
    wait_protected(ctx, &stage)?;
    load.unit.stop()?;
    stage.all_back(ctx)?;
    stage.agent.stop()?;
    Outcome::passed(format!("{taken} leases with full disks, back after a kill"))
}

/// Units stop and start between a change and its end, with the agent alive and dead.
pub(super) fn cgroup(ctx: &mut Ctx) -> Result<Outcome> {
    let mut stage = Stage::set(ctx)?;
    let (critical, low) = (
        stage.company.critical.unit.clone(),
        stage.company.low.unit.clone(),
    );
    for point in [Point::AfterLimit, Point::AfterSystemd, Point::AfterOfficial] {
        fs::write(FAULT, point.as_str()).context("writing the name of the point")?;
        let load = scenario::load(ctx)?;
        stage.wait_killed(ctx, point.as_str())?;
        // The same name, another cgroup; with the property, if systemd had it already.
        critical.restart()?;
        stage.alive = scenario::Alive::now(&stage.company)?;
        load.unit.stop()?;
        stage.bystanders()?;
        stage.start_again(ctx).with_context(|| point.as_str())?;
    }
    ctx.say("the unit was another one when the agent came back")?;
    let load = scenario::load(ctx)?;
    wait_protected(ctx, &stage)?;
    ctx.wait("memory of the low unit is taken", || {
        Ok((scenario::swapped(&low)? > 1 << 20).then_some(()))
    })?;
    let pid = stage.agent.unit.main_pid()?;
    low.restart()?;
    critical.restart()?;
    stage.alive = scenario::Alive::now(&stage.company)?;
    load.unit.stop()?;
    stage.all_back(ctx)?;
    ensure!(
        stage.agent.unit.main_pid()? == pid,
        "the agent did not live through it"
    );
    stage.agent.stop()?;
    Outcome::passed("restarted units got no limit of memmon's for good, and left no lease")
}

/// The wall clock jumps while limits are changed: leases go by another clock.
pub(super) fn clock(ctx: &mut Ctx) -> Result<Outcome> {
    let stage = Stage::set(ctx)?;
    ctx.undo().note(&Undo::clock())?;
    let load = scenario::load(ctx)?;
    wait_protected(ctx, &stage)?;
    for jump in ["+2 days", "-4 days"] {
        shell::run("date", &["--set", jump])?;
        // While the load is there, no lease ends, however late it seems to be.
        let critical = &stage.company.critical.unit;
        let held = wait::until_still(
            ctx.deadline(),
            Duration::from_secs(8),
            "the number of leases",
            || Ok(leases_of(critical)?.len()),
        )?;
        ensure!(held > 0, "the leases ended with the clock set {jump}");
    }
    stage.kill(ctx)?;
    shell::run("date", &["--set", "+2 days"])?;
    load.unit.stop()?;
    stage.start_again(ctx)?;
    let load = scenario::load(ctx)?;
    wait_protected(ctx, &stage)?;
    shell::run("date", &["--set", "-2 days"])?;
    load.unit.stop()?;
    // Not by the next start this time, but because it is quiet.
    wait_all_back(ctx, &stage.company, &stage.before)?;
    shell::run("memmon", &["history", "--json", "--since", "1h"])?;
    stage.alive.require(&stage.company)?;
    stage.agent.stop()?;
    Outcome::passed("two days forward, four back: leases went by the time that passes")
}

/// Waits until limits of the critical unit are changed, and on record.
fn wait_protected(ctx: &Ctx, stage: &Stage) -> Result<()> {
    let critical = &stage.company.critical.unit;
    let cgroup = critical.cgroup()?;
    ctx.wait("the critical unit is protected", || {
        let spared = cgroup.read("memory.low")? != "0" && cgroup.read("memory.swap.max")? == "0";
        Ok((spared && !leases_of(critical)?.is_empty()).then_some(()))
    })
}

/// A file system of its own, of so many bytes.
fn small_disk(ctx: &Ctx, directory: &str, bytes: u64) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making {directory}"))?;
    let options = format!("size={bytes},mode=0755");
    shell::run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", directory])?;
    ctx.undo().note(&Undo::Unmount(directory.into()))
}

/// Leaves no room.
fn fill(directory: &str) -> Result<()> {
    let file = Path::new(directory).join("filling");
    let mut written = 0_usize;
    let page = [0_u8; 4096];
    let mut target = fs::File::create(&file).with_context(|| format!("creating {}", file.display()))?;
    loop {
        match std::io::Write::write(&mut target, &page) {
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
            Err(error) => return Err(error).with_context(|| format!("filling {directory}")),
        }
    }
    ensure!(written > 0, "{directory} was full before");
    Ok(())
}
