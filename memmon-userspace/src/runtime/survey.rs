//! Reads the whole host once: what [`policy::strategies`](crate::policy::strategies) decides upon.
//!
//! With hundreds of units this takes tens of milliseconds, so the agent has it done by a thread of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::action::{Lease, measure};
use crate::attribute::{UnitIndex, UnitKind};
use crate::config::{Config, Priority};
use crate::decode::{
    Limit, MemInfo, MemoryStat, MissingField, Pressure, SwapAreas, SwapLevel, cgroup_file, zswapped,
};
use crate::policy::{Abilities, CgroupView, HostLease, HostSnapshot, MonoTime, SwapUse, UnitView};
use crate::source::cgroupfs::{CgroupDir, CgroupRoot, Number, Text};
use crate::source::proc::{Proc, ProcError};

/// Which units to read, and what of them is known already.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Services and scopes with a cgroup.
    pub units: Vec<Planned>,
    /// Leases in force.
    pub leases: Vec<HostLease>,
    /// The agent's own unit.
    pub own_unit: Option<String>,
    /// The share of RAM in use that somebody wants to know of ahead; `None`: nobody does.
    pub ahead: Option<f64>,
}

/// One unit to read.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Name.
    pub unit: String,
    /// Priority.
    pub priority: Priority,
    /// Path of its cgroup.
    pub cgroup: String,
    /// A process of it has tagged regions.
    pub tagged: bool,
    /// What somebody else has set its `MemorySwapMax` to while memmon had it on a lease.
    pub theirs: Option<Limit>,
    /// When a page of it last went to swap although it is critical.
    pub last_critical: Option<MonoTime>,
}

/// The host cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// A file of `/proc`.
    #[error(transparent)]
    Proc(#[from] ProcError),
    /// `/proc/meminfo` is not what it should be.
    #[error(transparent)]
    Missing(#[from] MissingField),
}

/// Where to read.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/proc`.
    pub proc: Proc,
    /// Where cgroup v2 is mounted; `None` on cgroup v1, where units have no figures.
    pub cgroups: Option<PathBuf>,
    /// `/sys/module/zswap/parameters/enabled`.
    pub zswap: PathBuf,
}

impl Places {
    /// The host's.
    pub fn system(cgroups: Option<PathBuf>) -> Self {
        Self {
            proc: Proc::default(),
            cgroups,
            zswap: PathBuf::from("/sys/module/zswap/parameters/enabled"),
        }
    }
}

/// The services and scopes of `index`, with their priorities.
pub fn units(index: &UnitIndex, config: &Config) -> Vec<Planned> {
    let mut units: Vec<Planned> = index
        .units()
        .filter(|unit| matches!(unit.kind, UnitKind::Service | UnitKind::Scope) && !unit.alive.is_empty())
        .filter_map(|unit| {
            let (_, cgroup) = index.cgroup_of_unit(unit.name)?;
            Some(Planned {
                unit: unit.name.to_string(),
                priority: index.priority(config, unit.name),
                cgroup: cgroup.to_string(),
                tagged: false,
                theirs: None,
                last_critical: None,
            })
        })
        .collect();
    units.sort_by(|a, b| a.unit.cmp(&b.unit));
    units
}

/// A lease as the snapshot has it.
pub fn host_lease(lease: &Lease) -> HostLease {
    HostLease {
        unit: lease.unit.clone(),
        cgroup: lease.cgroup.clone(),
        lease: lease.view(),
    }
}

/// Reads the host. A unit that vanishes meanwhile is left out.
///
/// # Errors
/// If the host's memory cannot be read.
pub fn survey(places: &Places, plan: &Plan) -> Result<HostSnapshot, SurveyError> {
    let meminfo = places.proc.meminfo()?;
    let mut snapshot = HostSnapshot {
        host: MemInfo::parse(&meminfo)?,
        psi: places
            .proc
            .memory_pressure()
            .ok()
            .and_then(|text| Pressure::parse(&text).ok()),
        swap: swap_use(places, &meminfo),
        leases: plan.leases.clone(),
        own_unit: plan.own_unit.clone(),
        ..HostSnapshot::default()
    };
    let Some(root) = places
        .cgroups
        .as_deref()
        .and_then(|path| CgroupRoot::open(path).ok())
    else {
        return Ok(snapshot);
    };
    snapshot.kernel = *abilities(
        places.cgroups.as_deref().unwrap_or(Path::new("/sys/fs/cgroup")),
        plan,
    );
    let mut gone: HashMap<String, bool> = HashMap::new();
    for unit in &plan.units {
        let Some(mut view) = unit_view(&root, unit) else {
            continue;
        };
        if snapshot.swap.zswap_stored.is_some() {
            view.zswap_room = zswap_room(&root, &unit.cgroup);
        }
        let complete = with_ancestors(&root, &unit.cgroup, &mut snapshot.cgroups, &mut gone);
        if complete {
            snapshot.units.push(view);
        }
    }
    Ok(snapshot)
}

fn swap_use(places: &Places, meminfo: &str) -> SwapUse {
    let areas = places
        .proc
        .swaps()
        .map(|text| SwapAreas::parse(&text))
        .unwrap_or_default();
    let on = std::fs::read_to_string(&places.zswap).is_ok_and(|text| text.starts_with(['Y', '1']));
    SwapUse {
        disk_total: areas.disk_total,
        disk_reserved: areas.disk_used,
        zram_total: areas.zram_total,
        zram_used: areas.zram_used,
        zswap_stored: on.then(|| zswapped(meminfo).unwrap_or(0)),
    }
}

/// What this kernel can do does not change while it runs.
fn abilities<'a>(mount: &Path, plan: &Plan) -> &'a Abilities {
    static KNOWN: OnceLock<Abilities> = OnceLock::new();
    static NOTHING: Abilities = Abilities {
        reclaim: false,
        swappiness: false,
    };
    if let Some(known) = KNOWN.get() {
        return known;
    }
    let Some(unit) = plan.units.first() else {
        return &NOTHING;
    };
    let file = mount
        .join(unit.cgroup.trim_start_matches('/'))
        .join("memory.reclaim");
    if !mount.join(unit.cgroup.trim_start_matches('/')).exists() {
        return &NOTHING;
    }
    // Reclaiming nothing is the way to ask whether the kernel knows the key (mm/vmscan.c, from 6.12).
    KNOWN.get_or_init(|| Abilities {
        reclaim: file.exists(),
        swappiness: std::fs::write(&file, "0 swappiness=0").is_ok(),
    })
}

fn unit_view(root: &CgroupRoot, planned: &Planned) -> Option<UnitView> {
    let dir = root.cgroup(&planned.cgroup).ok()?;
    let stat: Text<8192> = dir.optional("memory.stat").ok()??;
    let stat = MemoryStat::parse(stat.as_str());
    let pressure: Option<Text<512>> = dir.optional("memory.pressure").ok()?;
    let mut view = UnitView {
        unit: planned.unit.clone(),
        priority: planned.priority,
        cgroup: planned.cgroup.clone(),
        anon: stat.anon,
        cache: stat.clean_file,
        idle_cache: stat.inactive_file,
        pressure: pressure.and_then(|text| Pressure::parse(text.as_str()).ok()),
        below: Vec::new(),
        below_complete: false,
        zswap_room: None,
        tagged: planned.tagged,
        theirs: planned.theirs,
        last_critical: planned.last_critical,
    };
    if planned.priority == Priority::Critical {
        let measured = measure::measure(root, &planned.cgroup).ok()?;
        view.below = measured.below;
        view.below_complete = measured.below_complete;
    }
    Some(view)
}

/// What `memory.zswap.max` of the cgroup and its ancestors leaves; `None` without a finite one.
fn zswap_room(root: &CgroupRoot, path: &str) -> Option<u64> {
    let ancestors = path
        .match_indices('/')
        .skip(1)
        .map(|(slash, _)| &path[..slash])
        .chain([path]);
    ancestors
        .filter_map(|path| {
            let dir = root.cgroup(path).ok()?;
            let text = |file| dir.optional::<32>(file).ok().flatten();
            let max = cgroup_file::limit(text("memory.zswap.max")?.as_str())
                .ok()?
                .bytes()?;
            let current = cgroup_file::bytes(text("memory.zswap.current")?.as_str()).ok()?;
            Some(max.saturating_sub(current))
        })
        .min()
}

/// Adds the cgroup at `path` and its ancestors; false if one of them cannot be read.
fn with_ancestors(
    root: &CgroupRoot,
    path: &str,
    cgroups: &mut BTreeMap<String, CgroupView>,
    gone: &mut HashMap<String, bool>,
) -> bool {
    let mut path = path.trim_end_matches('/');
    while !path.is_empty() {
        if gone.contains_key(path) {
            return false;
        }
        if !cgroups.contains_key(path) {
            let Some(view) = root.cgroup(path).ok().as_ref().and_then(cgroup_view) else {
                gone.insert(path.to_owned(), true);
                return false;
            };
            cgroups.insert(path.to_owned(), view);
        }
        path = path.rfind('/').map_or("", |slash| &path[..slash]);
    }
    true
}

fn cgroup_view(dir: &CgroupDir) -> Option<CgroupView> {
    let text = |file| dir.optional::<32>(file).ok().flatten();
    let bytes = |text: &Number| cgroup_file::bytes(text.as_str()).ok();
    let limit = |text: &Number| cgroup_file::limit(text.as_str()).ok();
    let swap = match (text("memory.swap.max"), text("memory.swap.current")) {
        (Some(max), Some(current)) => Some(SwapLevel {
            max: limit(&max)?,
            current: bytes(&current)?,
        }),
        _ => None,
    };
    Some(CgroupView {
        id: dir.inode().ok()?,
        current: bytes(&text("memory.current")?)?,
        max: limit(&text("memory.max")?)?,
        high: limit(&text("memory.high")?)?,
        low: text("memory.low")
            .as_ref()
            .and_then(limit)
            .unwrap_or(Limit::Bytes(0)),
        min: text("memory.min")
            .as_ref()
            .and_then(limit)
            .unwrap_or(Limit::Bytes(0)),
        swap,
    })
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
