//! `memmon report`: what can be told without a running agent, and what the agent's own report shares with it.

use std::{collections::BTreeMap, path::Path};

use crate::{
    action::Lease,
    attribute::{Ledger, UnitIndex, UnitKind, UnitState},
    config::{Config, Priority},
    decode::{Limit, MemInfo, MissingField, Pressure, cgroup_file, rfc3339},
    export::json::report::{
        BlameField, LeaseField, LimitsField, PsiField, ReportDocument, StrategyField, SystemField, UnitField,
    },
    policy::{self, MonoTime, Rules, Situation, StrategyState},
    runtime::survey::{self, Places},
    source::{
        cgroup_tree::{CgroupTree, CgroupTreeError},
        cgroupfs::{CgroupDir, CgroupRoot, Number, Text},
        proc::{self, Proc, ProcError},
    },
};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// `/proc` cannot be read.
    #[error(transparent)]
    Proc(#[from] ProcError),
    /// `/proc/meminfo` is not what it should be.
    #[error(transparent)]
    Missing(#[from] MissingField),
    /// There is no cgroup tree with a memory controller.
    #[error(transparent)]
    Tree(#[from] CgroupTreeError),
}

/// Reads the host once. `leases` are those on record, `None` if they cannot be read.
///
/// # Errors
/// If the host's memory or cgroup tree cannot be read.
pub fn report(config: &Config, leases: Option<&[Lease]>) -> Result<ReportDocument, ReportError> {
    let tree = CgroupTree::discover(Path::new("/"))?;
    let mut index = UnitIndex::new();
    let token = index.scan_token();
    index.apply_scan(token, &tree.scan()?);
    Ok(ReportDocument {
        schema: "memmon.report/1",
        system: system(config, Situation::Normal)?,
        units: units(config, &tree, &index, leases),
        blame: None,
        strategies: proposed(config, &tree, &index, leases),
        attribution: "unverified",
        agent: None,
        alarms: None,
        regions: None,
        forecast: None,
    })
}

/// What an agent would do that had just been started; nothing is carried out.
fn proposed(
    config: &Config,
    tree: &CgroupTree,
    index: &UnitIndex,
    leases: Option<&[Lease]>,
) -> Vec<StrategyField> {
    let places = Places::system((!tree.is_v1()).then(|| tree.mount.clone()));
    let plan = survey::Plan {
        units: survey::units(index, config),
        leases: leases
            .unwrap_or_default()
            .iter()
            .map(survey::host_lease)
            .collect(),
        ..survey::Plan::default()
    };
    let snapshot = match survey::survey(&places, &plan) {
        Ok(snapshot) => snapshot,
        Err(error) => return vec![not_carried_out("none", None, None, error.to_string())],
    };
    let now = MonoTime(proc::monotonic_ns());
    let (rules, mut state) = (Rules::from(config), StrategyState::default());
    state.observe(&snapshot, &rules, now);
    let decision = policy::strategies(&snapshot, &rules, &state, now);
    let fields = decision.strategies.into_iter();
    fields
        .map(|strategy| {
            not_carried_out(
                strategy.action.as_str(),
                strategy.unit,
                strategy.amount,
                strategy.reason,
            )
        })
        .collect()
}

fn not_carried_out(
    action: &'static str,
    unit: Option<String>,
    amount: Option<u64>,
    reason: String,
) -> StrategyField {
    StrategyField {
        action,
        unit,
        amount,
        reason,
        applied: false,
        error: None,
    }
}

/// The host as it is now; `before` is the situation before, for the hysteresis.
///
/// # Errors
/// If the host's memory cannot be read.
pub(super) fn system(config: &Config, before: Situation) -> Result<SystemField, ReportError> {
    let proc = Proc::default();
    let memory = MemInfo::parse(&proc.meminfo()?)?;
    let psi = proc
        .memory_pressure()
        .ok()
        .and_then(|text| Pressure::parse(&text).ok());
    let swap_used = memory.swap_used();
    Ok(SystemField {
        ram_used: memory.ram_used(),
        swap_used,
        psi: psi.map(Into::into),
        situation: policy::situation(&memory, &config.thresholds, before),
        swap_high: swap_used.is_some_and(|used| used >= config.thresholds.swap_high),
    })
}

/// Most swap first.
pub(super) fn sort(units: &mut [UnitField]) {
    units.sort_by(|a, b| {
        (b.swap_bytes, b.memory_bytes, &a.unit).cmp(&(a.swap_bytes, a.memory_bytes, &b.unit))
    });
}

/// Leases by unit, as documents show them.
pub(super) fn leases_by_unit(leases: &[Lease]) -> BTreeMap<&str, Vec<LeaseField>> {
    let offset = proc::wall_clock_offset_ns();
    let mut by_unit: BTreeMap<&str, Vec<LeaseField>> = BTreeMap::new();
    for lease in leases {
        by_unit
            .entry(&lease.unit)
            .or_default()
            .push(lease_field(lease, offset));
    }
    by_unit
}

/// Who pushed out whose pages, most first.
pub(super) fn blame(ledger: &Ledger) -> Vec<BlameField> {
    let mut blame: Vec<BlameField> = ledger
        .blame()
        .map(|(key, pages)| BlameField {
            victim: key.victim.to_string(),
            reclaimer: key.reclaimer.as_ref().map(ToString::to_string),
            kind: key.kind.as_str(),
            pages,
        })
        .collect();
    blame.sort_by(|a, b| (b.pages, &a.victim, &a.reclaimer).cmp(&(a.pages, &b.victim, &b.reclaimer)));
    blame
}

/// The units of `index` with what their cgroups' files say.
pub(super) fn units(
    config: &Config,
    tree: &CgroupTree,
    index: &UnitIndex,
    leases: Option<&[Lease]>,
) -> Vec<UnitField> {
    let figures = Figures::open(tree);
    let mut by_unit = leases_by_unit(leases.unwrap_or_default());
    let shown = index.units().filter(|unit| is_shown(unit));
    let mut units: Vec<UnitField> = shown
        .map(|unit| {
            let cgroup = index.cgroup_of_unit(unit.name).map(|(_, path)| path.to_string());
            UnitField {
                leases: leases.map(|_| by_unit.remove(unit.name.as_ref()).unwrap_or_default()),
                ..figures.of(unit.name, index.priority(config, unit.name), cgroup)
            }
        })
        .collect();
    sort(&mut units);
    units
}

/// Slices are sums of what is in them, and units without a cgroup have no figures.
pub(super) fn is_shown(unit: &UnitState<'_>) -> bool {
    unit.kind != UnitKind::Slice && !unit.alive.is_empty()
}

/// Reads the figures of units from their cgroups.
pub(super) struct Figures(Option<CgroupRoot>);

impl Figures {
    /// With cgroup v1, or if the tree cannot be opened, there are none.
    pub(super) fn open(tree: &CgroupTree) -> Self {
        let v2 = !tree.is_v1();
        Self(v2.then(|| CgroupRoot::open(&tree.mount).ok()).flatten())
    }

    /// What the cgroup's files say; what only the agent knows is absent.
    pub(super) fn of(&self, unit: &str, priority: Priority, cgroup: Option<String>) -> UnitField {
        let dir = self
            .0
            .as_ref()
            .zip(cgroup.as_deref())
            .and_then(|(root, path)| root.cgroup(path).ok());
        let bytes = |file| number(dir.as_ref(), file).and_then(|text| cgroup_file::bytes(text.as_str()).ok());
        let limit = |file| number(dir.as_ref(), file).and_then(|text| cgroup_file::limit(text.as_str()).ok());
        UnitField {
            unit: unit.to_owned(),
            priority,
            memory_bytes: bytes("memory.current"),
            swap_bytes: bytes("memory.swap.current"),
            swapout_pages: None,
            swapin_pages: None,
            critical_pages_swapped: None,
            stall_seconds: None,
            psi: dir.as_ref().and_then(psi),
            limits: limits(limit),
            leases: None,
            cgroup,
        }
    }
}

fn limits(limit: impl Fn(&'static str) -> Option<Limit>) -> LimitsField {
    LimitsField {
        memory_min: limit("memory.min"),
        memory_low: limit("memory.low"),
        memory_high: limit("memory.high"),
        memory_max: limit("memory.max"),
        swap_max: limit("memory.swap.max"),
    }
}

fn psi(dir: &CgroupDir) -> Option<PsiField> {
    let text: Text<512> = dir.optional("memory.pressure").ok()??;
    Some(Pressure::parse(text.as_str()).ok()?.into())
}

fn number(dir: Option<&CgroupDir>, file: &'static str) -> Option<Number> {
    dir?.optional(file).ok().flatten()
}

fn lease_field(lease: &Lease, offset: i128) -> LeaseField {
    LeaseField {
        property: lease.property.as_str(),
        old: Some(lease.old),
        new: lease.new,
        reason: lease.reason.clone(),
        since: rfc3339(lease.created.0, offset),
        deadline: Some(rfc3339(lease.deadline.0, offset)),
    }
}
