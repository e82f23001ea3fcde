//! Taking memory from those who may be taken from: low first, asked first, cache before anonymous memory.

use super::ledger::Ledger;
use super::relieve::is_below;
use super::state::Readiness;
use super::{StrategyAction, Target};
use crate::config::Priority;
use crate::policy::headroom::Size;
use crate::policy::host::UnitView;

/// Less than this is not worth a step, bytes.
pub(super) const LEAST: u64 = 1 << 20;
/// Share of the last 10 s, in percent, with a task stalled on memory from which a unit is thrashing: what is
/// paged out then comes straight back.
pub(super) const THRASHING: f64 = 25.0;
/// How to have swap that needs no disk.
const NO_SWAP: &str = "no swap is set up, so anonymous memory has nowhere to go: zram keeps it compressed in RAM \
    (install systemd-zram-generator, or zramctl --find --size, mkswap and swapon)";
const ONLY_DISK: &str = "swap is on a disk only: zswap would keep pages compressed in RAM first \
    (zswap.enabled=1 on the kernel command line, or /sys/module/zswap/parameters/enabled)";

/// How far one call may go.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    /// The last priority that is taken from.
    pub(super) up_to: Priority,
    /// Anonymous memory as well.
    pub(super) anon: bool,
    /// Ask, and take nothing.
    pub(super) only_ask: bool,
    /// Units with more pressure than this are left alone, percent of the last 10 s.
    pub(super) pressure: f64,
    /// Only units whose cgroup is below this one.
    pub(super) below: Option<&'a str>,
}

/// RAM is critical: take what is needed to leave that situation.
pub(super) fn critical(ledger: &mut Ledger<'_>) {
    let need = above_critical(ledger);
    let why = format!(
        "RAM use of {:.0} % has to fall by {} to leave the critical situation",
        ledger.snapshot.host.ram_used() * 100.0,
        Size(need)
    );
    let reach = Reach {
        up_to: Priority::High,
        anon: true,
        only_ask: false,
        pressure: THRASHING,
        below: None,
    };
    let missing = take(ledger, need, reach, &why);
    if need > 0 && missing == need {
        nothing_to_take(ledger);
    }
    compression_advice(ledger);
}

/// RAM is high: ask the least important to let go, before it has to be taken.
pub(super) fn high(ledger: &mut Ledger<'_>) {
    let thresholds = ledger.rules.thresholds;
    let need = above(ledger, thresholds.ram_high - thresholds.hysteresis);
    let why = format!(
        "RAM use of {:.0} % has to fall by {} to be normal",
        ledger.snapshot.host.ram_used() * 100.0,
        Size(need)
    );
    let reach = Reach {
        up_to: Priority::Low,
        anon: false,
        only_ask: true,
        pressure: THRASHING,
        below: None,
    };
    take(ledger, need, reach, &why);
    ledger.idle(
        "RAM use is high: critical units are spared, nothing is taken before it is critical".to_owned(),
    );
}

/// Bytes to free until RAM is no longer critical.
pub(super) fn above_critical(ledger: &Ledger<'_>) -> u64 {
    let thresholds = ledger.rules.thresholds;
    above(ledger, thresholds.ram_critical - thresholds.hysteresis)
}

/// Bytes in use above this share of RAM.
fn above(ledger: &Ledger<'_>, share: f64) -> u64 {
    let host = &ledger.snapshot.host;
    let used = host.total.saturating_sub(host.available);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of RAM, positive and far below 2^53"
    )]
    let allowed = (host.total as f64 * share) as u64;
    used.saturating_sub(allowed)
}

/// Plans to take `need` bytes and returns what could not be planned.
pub(super) fn take(ledger: &mut Ledger<'_>, mut need: u64, reach: Reach<'_>, why: &str) -> u64 {
    if !ledger.snapshot.kernel.reclaim && !reach.only_ask && need >= LEAST {
        ledger.idle("this kernel has no memory.reclaim (from 6.1): memmon can only ask".to_owned());
    }
    for priority in [Priority::Low, Priority::Medium, Priority::High] {
        if priority > reach.up_to {
            break;
        }
        let within = |unit: &&UnitView| reach.below.is_none_or(|above| is_below(&unit.cgroup, above));
        let mut donors: Vec<&UnitView> = ledger.donors(priority).filter(within).collect();
        donors.sort_by_key(|unit| (std::cmp::Reverse(ledger.spare(&unit.cgroup)), unit.unit.as_str()));
        for unit in donors {
            if need < LEAST {
                return need;
            }
            need -= take_from(ledger, unit, need, reach, why);
        }
    }
    need
}

/// Plans to take up to `need` bytes from `unit`; returns how much that is, or is held back for its next turn.
fn take_from(ledger: &mut Ledger<'_>, unit: &UnitView, need: u64, reach: Reach<'_>, why: &str) -> u64 {
    let stalled = unit.pressure.map_or(0.0, |pressure| pressure.some.avg10);
    if stalled >= reach.pressure {
        ledger.idle(format!(
            "{} is passed over: its tasks are stalled on memory {stalled:.1} % of the time",
            unit.unit
        ));
        return 0;
    }
    let takes_anon = reach.anon && !unit.keeps_anon();
    let anon = if takes_anon { pageable(ledger, unit) } else { 0 };
    // Who is only asked can let go of anything, reclaimable or not.
    let reclaimable = if reach.only_ask {
        u64::MAX
    } else {
        unit.cache.saturating_add(anon)
    };
    let possible = need.min(ledger.spare(&unit.cgroup)).min(reclaimable);
    if possible < LEAST {
        return 0;
    }
    match ledger.state.asked(&unit.unit) {
        None if ledger.asks(&unit.unit) => {}
        None => {
            let reason = format!("{} is {} and is asked first: {why}", unit.unit, unit.priority);
            let target = Target::Processes;
            ledger.plan(
                StrategyAction::ReleaseRequest,
                unit,
                Some(possible),
                target,
                reason,
            );
        }
        Some(at) if ledger.now.since(at) < ledger.rules.strategies.grace => {}
        Some(_) if reach.only_ask || !ledger.snapshot.kernel.reclaim => return 0,
        Some(_) => {
            let cached = take_cache(ledger, unit, possible, why);
            let paged = if takes_anon {
                page_out(ledger, unit, possible - cached, why)
            } else {
                0
            };
            return cached + paged;
        }
    }
    // Asked, and not yet to be taken from: it may still give as much by itself.
    ledger.take(&unit.cgroup, possible);
    possible
}

/// File cache alone can be had with `swappiness=0`, or where nothing else can be reclaimed anyway.
fn take_cache(ledger: &mut Ledger<'_>, unit: &UnitView, need: u64, why: &str) -> u64 {
    let kernel = ledger.snapshot.kernel;
    if !kernel.swappiness && pageable(ledger, unit) > 0 {
        return 0;
    }
    let amount = whole_pages(need.min(unit.cache).min(ledger.spare(&unit.cgroup)));
    if amount < LEAST {
        return 0;
    }
    let target = Target::Reclaim {
        swappiness: kernel.swappiness.then_some(0),
    };
    let reason = format!(
        "{} is {} and can give {} of clean file cache: {why}",
        unit.unit,
        unit.priority,
        Size(unit.cache)
    );
    step(ledger, StrategyAction::ReclaimCache, unit, amount, target, reason)
}

fn page_out(ledger: &mut Ledger<'_>, unit: &UnitView, need: u64, why: &str) -> u64 {
    let kernel = ledger.snapshot.kernel;
    let amount = whole_pages(need.min(pageable(ledger, unit)).min(ledger.spare(&unit.cgroup)));
    if amount < LEAST {
        return 0;
    }
    let target = Target::Reclaim {
        swappiness: kernel.swappiness.then_some(200),
    };
    let (action, how) = if ledger.snapshot.swap.compresses(unit) {
        (StrategyAction::Compress, "is compressed into RAM")
    } else if unit.zswap_room == Some(0) {
        // zswap refuses such pages, and they are written to the device.
        let more = format!(
            "{} may keep no more in zswap (MemoryZSwapMax= of it or above), so that its pages go to swap on disk: raise it \
             to have them compressed in RAM",
            unit.unit
        );
        ledger.advise(StrategyAction::Compress, Some(unit), more);
        (StrategyAction::PageOut, "goes to swap on disk")
    } else {
        (StrategyAction::PageOut, "goes to swap on disk")
    };
    let reason = format!(
        "{} is {} and part of its {} of anonymous memory {how}: {why}",
        unit.unit,
        unit.priority,
        Size(unit.anon)
    );
    let taken = step(ledger, action, unit, amount, target, reason);
    ledger.swap_free = ledger.swap_free.saturating_sub(taken);
    taken
}

/// Plans one step, unless it was tried lately. Returns what it takes, or what is held back for its next turn:
/// going on to somebody more important because a unit has just given would punish the wrong one.
fn step(
    ledger: &mut Ledger<'_>,
    action: StrategyAction,
    unit: &UnitView,
    amount: u64,
    target: Target,
    reason: String,
) -> u64 {
    match ledger.readiness(&unit.unit, action) {
        Readiness::Ready => {
            ledger.plan(action, unit, Some(amount), target, reason);
        }
        Readiness::CoolingDown => {}
        Readiness::BackedOff => {
            let action = action.as_str();
            ledger.idle(format!("{action} of {} did not help: a longer pause", unit.unit));
            return 0;
        }
    }
    ledger.take(&unit.cgroup, amount);
    amount
}

/// Anonymous memory of the unit that swap has room for, bytes.
fn pageable(ledger: &Ledger<'_>, unit: &UnitView) -> u64 {
    let allowed = ledger.snapshot.chain(&unit.cgroup).map(|(_, cgroup)| {
        cgroup.swap.map_or(u64::MAX, |swap| {
            swap.max
                .bytes()
                .map_or(u64::MAX, |max| max.saturating_sub(swap.current))
        })
    });
    allowed.min().unwrap_or(0).min(unit.anon).min(ledger.swap_free)
}

fn whole_pages(bytes: u64) -> u64 {
    bytes / 4096 * 4096
}

/// Why nobody can be taken from.
fn nothing_to_take(ledger: &mut Ledger<'_>) {
    let count = |priority| {
        let units = &ledger.snapshot.units;
        units.iter().filter(|unit| unit.priority == priority).count()
    };
    let (critical, observed) = (count(Priority::Critical), count(Priority::Observe));
    let donors = count(Priority::Low) + count(Priority::Medium) + count(Priority::High);
    ledger.idle(if ledger.snapshot.units.is_empty() {
        "no unit is running that memory could be taken from".to_owned()
    } else if donors == 0 {
        format!(
            "no memory can be taken from anybody: {critical} critical and {observed} observed units, none is low, medium \
             or high; declare in [units] who may be reclaimed"
        )
    } else {
        format!("none of the {donors} low, medium and high units can give anything now")
    });
}

/// Says how to have swap in RAM, where anonymous memory would have been taken.
fn compression_advice(ledger: &mut Ledger<'_>) {
    let swap = &ledger.snapshot.swap;
    if swap.is_none() {
        ledger.advise(StrategyAction::Compress, None, NO_SWAP.to_owned());
    } else if swap.compressed().is_none() {
        ledger.advise(StrategyAction::Compress, None, ONLY_DISK.to_owned());
    }
}
