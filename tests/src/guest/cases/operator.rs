//! Whatever an operator changes after memmon is the operator's.

use std::fs;

use anyhow::{Result, ensure};
use memmon::export::journal::Message;

use crate::guest::{
    Case, Ctx, Outcome,
    agent::{Agent, Setup, SwapLimit, leases, leases_of, push_out},
    units::{Unit, daemon_reload},
    workload::Hold,
};

/// This topic's cases.
pub const CASES: &[Case] = &[
    Case {
        name: "operator.change-is-kept",
        run: change_is_kept,
        seconds: 180,
    },
    Case {
        name: "operator.override-conf",
        run: override_conf,
        seconds: 180,
    },
];

const MIB: u64 = 1 << 20;
/// The 64 MiB that operators set here, as the kernel and systemd write it.
const KEPT: &str = "67108864";

/// What an operator does to a unit that memmon has tightened.
#[derive(Clone, Copy, Debug)]
enum Change {
    SetProperty,
    SetPropertyRuntime,
    CgroupFile,
}

impl Change {
    const ALL: [Self; 3] = [Self::SetProperty, Self::SetPropertyRuntime, Self::CgroupFile];

    /// First word of the names of the units that get it.
    const fn prefix(self) -> &'static str {
        match self {
            Self::SetProperty => "kept-etc",
            Self::SetPropertyRuntime => "kept-run",
            Self::CgroupFile => "kept-cgroup",
        }
    }

    fn make(self, unit: &Unit) -> Result<()> {
        match self {
            Self::SetProperty => unit.set_property(&format!("MemorySwapMax={KEPT}"), false),
            Self::SetPropertyRuntime => unit.set_property(&format!("MemorySwapMax={KEPT}"), true),
            Self::CgroupFile => unit.cgroup()?.write("memory.swap.max", KEPT),
        }
    }

    /// The limit is the operator's, and so is what is left of it in systemd's directories.
    fn is_kept(self, unit: &Unit) -> Result<()> {
        let limit = SwapLimit::of(unit)?;
        let property = match self {
            Self::SetProperty | Self::SetPropertyRuntime => KEPT,
            Self::CgroupFile => "infinity",
        };
        ensure!(
            limit.file == KEPT && limit.property == property,
            "{} after {self:?}: {limit:?}",
            unit.name()
        );
        for drop_in in &limit.drop_ins {
            let content = fs::read_to_string(drop_in)?;
            ensure!(
                content.contains(&format!("MemorySwapMax={KEPT}")),
                "{} is not the operator's: {content}",
                drop_in.display()
            );
        }
        Ok(())
    }
}

/// `set-property`, for good or until reboot, or a write to the cgroup, on units of every kind: it stays,
/// while the unit is swapped again and when memmon ends.
fn change_is_kept(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let mut units = Vec::new();
    for change in Change::ALL {
        for unit in ctx.every_kind(change.prefix(), &Hold::mib(4))? {
            units.push((change, unit));
        }
    }
    let agent = ctx.agent(&Setup {
        critical: &["kept*"],
        ..Setup::default()
    })?;
    for (_, unit) in &units {
        // Not all of it, however long the agent takes: the rest is for the second time.
        unit.cgroup()?.reclaim(1 << 20)?;
    }
    for (_, unit) in &units {
        ctx.wait_tightened(unit)?;
    }
    agent.measure_reactions(ctx, "memory.reclaim, many units")?;
    for (change, unit) in &units {
        change.make(unit)?;
    }
    for (change, unit) in &units {
        let cgroup = unit.cgroup()?;
        let before = cgroup.number("memory.swap.current")?;
        push_out(&cgroup)?;
        ensure!(
            cgroup.number("memory.swap.current")? > before,
            "{} was not swapped again after {change:?}: this compares nothing",
            unit.name()
        );
        let limit = cgroup.read("memory.swap.max")?;
        ensure!(
            limit == KEPT,
            "{} after {change:?}: memory.swap.max is {limit}",
            unit.name()
        );
    }
    agent.stop()?;
    for (change, unit) in &units {
        change.is_kept(unit)?;
        agent.told(ctx, Message::LeaseKept, unit.name(), |entry| {
            entry.text().contains("after memmon")
        })?;
    }
    ensure!(leases()?.is_empty(), "leases are left: {:?}", leases()?);
    Outcome::passed(format!("{} units: three kinds, three ways", units.len()))
}

/// A drop-in that sorts after memmon's wins at a daemon-reload. As long as it says what it said, that is not
/// the operator's word, and the limit is applied again; when it says something new, it is.
fn override_conf(ctx: &mut Ctx) -> Result<Outcome> {
    ctx.swap_on_zram(256)?;
    let says = |mib: u64| format!("[Service]\nMemorySwapMax={mib}M\n");
    for unit in &Ctx::names_of_every_kind("over") {
        ctx.drop_in(unit, "override.conf", &says(256))?;
    }
    let units = ctx.every_kind("over", &Hold::mib(3))?;
    let plain = ctx.workload("over-plain.service", &Hold::mib(3))?.unit;
    let agent = ctx.agent(&Setup {
        critical: &["over*"],
        ..Setup::default()
    })?;
    for unit in units.iter().chain([&plain]) {
        push_out(&unit.cgroup()?)?;
    }
    for unit in units.iter().chain([&plain]) {
        ctx.wait_tightened(unit)?;
    }

    daemon_reload()?;
    for unit in &units {
        agent.told(ctx, Message::LimitChanged, unit.name(), |entry| {
            entry.text().contains("daemon-reload")
        })?;
        ctx.wait_tightened(unit)?;
    }

    for unit in &units {
        ctx.drop_in(unit, "override.conf", &says(128))?;
    }
    daemon_reload()?;
    let theirs = SwapLimit {
        file: (128 * MIB).to_string(),
        property: (128 * MIB).to_string(),
        drop_ins: Vec::new(),
    };
    for unit in &units {
        ctx.wait_limit(unit, &theirs)?;
        let kept = agent.told(ctx, Message::LeaseKept, unit.name(), |_| true)?;
        ensure!(
            kept.text().contains(&theirs.property),
            "which value was kept is not said: {}",
            kept.text()
        );
    }
    stayed_in_force(&agent, &plain)?;
    agent.stop()?;
    for unit in &units {
        ctx.require_limit(unit, &theirs)?;
    }
    ctx.require_limit(&plain, &SwapLimit::untouched())?;
    Outcome::passed("unchanged: applied again; changed: the operator's; for units of every kind")
}

/// Without a drop-in after memmon's, a daemon-reload changes nothing, and nothing is told.
fn stayed_in_force(agent: &Agent, unit: &Unit) -> Result<()> {
    let limit = SwapLimit::of(unit)?;
    ensure!(
        limit.file == "0" && limit.property == "0" && leases_of(unit)?.len() == 1,
        "{} after two reloads: {limit:?}",
        unit.name()
    );
    let again = agent.entries(Message::LimitChanged, unit.name())?;
    ensure!(
        !again.iter().any(|entry| entry.text().contains("daemon-reload")),
        "{} was tightened again",
        unit.name()
    );
    Ok(())
}
