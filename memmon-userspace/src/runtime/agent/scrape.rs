//! What the metrics say: copied in the loop, put together on the thread that serves them.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use memmon_common::event::StallHistogram;
use tokio::sync::{mpsc, oneshot};

use super::{
    Agent,
    sums::Counts,
    tags::TagsHandle,
    view::{Answer, Ask},
};
use crate::{
    attribute::BlameKey,
    config::Priority,
    decode::{ReclaimKind, StallKind, cgroup_file},
    export::{
        http::Feed,
        metrics::{
            Action, Alarm, Blame, Exhaustion, Facts, Histogram, Lease, Regions, Stall, SwapOut, Unit,
            UnitMemory, lost,
        },
    },
    kernel::programs::{ProgramStats, Programs},
    policy::{Property, Severity, forecast::Forecast},
    record::Forecasts,
    runtime::report::is_shown,
    source::{
        cgroup_tree::CgroupTree,
        cgroupfs::CgroupRoot,
        probes::{Counters, Totals},
    },
};

/// Copies, which is all that the loop spends its time on.
pub(super) struct Raw {
    units: Vec<(Arc<str>, Priority, Option<Arc<str>>)>,
    swapout: Vec<(Arc<str>, ReclaimKind, u64)>,
    swapin: Vec<(Arc<str>, u64)>,
    critical: Vec<(Arc<str>, u64)>,
    blame: Vec<(BlameKey, u64)>,
    stalls: Vec<(Arc<str>, StallKind, StallHistogram)>,
    alarms: Vec<(Arc<str>, Severity)>,
    forecasts: Forecasts,
    leases: Vec<(Arc<str>, Property)>,
    actions: BTreeMap<Action, u64>,
    reaction: Histogram,
    undecodable: u64,
}

impl Agent {
    pub(super) fn raw(&self) -> Raw {
        let (index, sums) = (&self.observer.index, &self.sums);
        let units = index.units().filter(is_shown);
        let leases = self.hands.iter().flat_map(|hands| hands.executor.leases());
        let swapin = sums.back.iter().flat_map(|back| back.by_unit());
        Raw {
            units: units
                .map(|unit| {
                    let priority = index.priority(&self.config, unit.name);
                    let cgroup = index.cgroup_of_unit(unit.name).map(|(_, path)| Arc::clone(path));
                    (Arc::clone(unit.name), priority, cgroup)
                })
                .collect(),
            swapout: sums
                .out
                .by_kind()
                .map(|(unit, kind, pages)| (Arc::clone(unit), kind, pages))
                .collect(),
            swapin: swapin.map(|(unit, pages)| (Arc::clone(unit), pages)).collect(),
            critical: sums
                .critical()
                .map(|(unit, pages)| (Arc::clone(unit), pages))
                .collect(),
            blame: sums
                .out
                .blame()
                .map(|(key, pages)| (key.clone(), pages))
                .collect(),
            stalls: sums
                .stalls
                .by_unit()
                .map(|(unit, kind, stalls)| (Arc::clone(unit), kind, *stalls))
                .collect(),
            alarms: self
                .alarms
                .iter()
                .map(|alarm| (Arc::clone(&alarm.unit), alarm.severity))
                .chain(
                    self.outlooks
                        .alarms()
                        .map(|alarm| (Arc::clone(&alarm.subject), Severity::Warning)),
                )
                .collect(),
            forecasts: self.outlooks.latest.clone(),
            leases: leases
                .map(|lease| (Arc::from(lease.unit.as_str()), lease.property))
                .collect(),
            actions: self.counters.actions().clone(),
            reaction: self.counters.reaction().clone(),
            undecodable: self.observer.undecodable(),
        }
    }
}

/// Asks the loop, and reads what needs not be read there.
pub(super) struct Scraper {
    pub(super) tree: CgroupTree,
    pub(super) counters: Arc<Counters>,
    pub(super) programs: Arc<Programs>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) tags: TagsHandle,
    pub(super) regions: Mutex<Regions>,
}

impl Scraper {
    /// The server's way to it.
    pub(super) fn feed(self) -> Feed {
        let scraper = Arc::new(self);
        Feed::new(Box::new(move || {
            let scraper = Arc::clone(&scraper);
            Box::pin(async move { scraper.facts().await })
        }))
    }

    /// `None` if the agent is stopping.
    async fn facts(&self) -> Option<Facts> {
        let (answer, raw) = oneshot::channel();
        let ask = Ask {
            counts: Counts::read(&self.counters, &self.programs),
            answer: Answer::Facts(answer),
        };
        self.asks.send(ask).await.ok()?;
        let raw = raw.await.ok()?;
        // After the unit's own counters: a page that is in neither yet must not be taken for one outside of regions.
        let tagged = self.tags.view().await?.totals;
        Some(self.put_together(raw, &tagged))
    }

    fn put_together(&self, raw: Raw, tagged: &[(Arc<str>, Arc<str>, u64)]) -> Facts {
        // In this order: the totals only trail what the kernel says of the programs.
        let totals = self
            .counters
            .totals()
            .map_err(|error| tracing::error!("reading the totals: {error}"));
        let programs = self.programs.stats();
        let kswapd: Arc<str> = Arc::from("kswapd");
        let unknown: Arc<str> = Arc::from("unknown");
        let blame = |key: BlameKey| Blame {
            reclaimer: key.reclaimer.unwrap_or_else(|| match key.kind {
                ReclaimKind::Kswapd => Arc::clone(&kswapd),
                _ => Arc::clone(&unknown),
            }),
            victim: key.victim,
            kind: key.kind.as_str(),
        };
        let critical = {
            let is_critical: HashSet<&str> = raw
                .units
                .iter()
                .filter(|(_, priority, _)| *priority == Priority::Critical)
                .map(|(unit, ..)| &**unit)
                .collect();
            let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
            regions.split(&raw.critical, tagged, |unit| is_critical.contains(unit))
        };
        let mut leases: BTreeMap<Lease, u64> = BTreeMap::new();
        for (unit, property) in raw.leases {
            let property = property.as_str();
            *leases.entry(Lease { unit, property }).or_default() += 1;
        }
        Facts {
            units: self.memory(raw.units),
            swapout: collect(raw.swapout, |(unit, kind, pages)| {
                (
                    SwapOut {
                        unit,
                        kind: kind.as_str(),
                    },
                    pages,
                )
            }),
            swapin: collect(raw.swapin, |(unit, pages)| (Unit { unit }, pages)),
            critical,
            blame: collect(raw.blame, |(key, pages)| (blame(key), pages)),
            stalls: collect(raw.stalls, |(unit, kind, stalls)| {
                (
                    Stall {
                        unit,
                        kind: kind.as_str(),
                    },
                    Histogram::from(&stalls),
                )
            }),
            alarms: collect(raw.alarms, |(unit, severity)| {
                (
                    Alarm {
                        unit,
                        severity: severity.as_str(),
                    },
                    1,
                )
            }),
            actions: raw.actions,
            leases,
            reaction: raw.reaction,
            lost: totals
                .map(|totals| lost(&totals, &programs, raw.undecodable))
                .unwrap_or_default(),
            programs,
            exhaustion: exhaustion(&raw.forecasts),
        }
    }

    fn memory(&self, units: Vec<(Arc<str>, Priority, Option<Arc<str>>)>) -> Vec<UnitMemory> {
        // There are no such figures on cgroup v1.
        let root = (!self.tree.is_v1())
            .then(|| CgroupRoot::open(&self.tree.mount).ok())
            .flatten();
        let read = |(unit, priority, cgroup): (Arc<str>, Priority, Option<Arc<str>>)| {
            let dir = root.as_ref().zip(cgroup.as_deref());
            let dir = dir.and_then(|(root, path)| root.cgroup(path).ok());
            let bytes = |file| {
                let text = dir.as_ref()?.optional::<32>(file).ok()??;
                cgroup_file::bytes(text.as_str()).ok()
            };
            UnitMemory {
                memory_bytes: bytes("memory.current"),
                swap_bytes: bytes("memory.swap.current"),
                unit,
                priority,
            }
        };
        units.into_iter().map(read).collect()
    }
}

/// Every reason, also those for which nothing was lost: a counter that appears has no increase. None at all where
/// the totals cannot be read: that nothing was lost is not known then.
fn lost(totals: &Totals, programs: &[ProgramStats], undecodable: u64) -> BTreeMap<&'static str, u64> {
    let first = programs.iter().filter(|program| program.name == "swap_out");
    let skipped = first.map(|program| program.recursion_misses).sum();
    [
        (lost::RING_FULL, totals.ring_drops),
        (lost::CGROUP_RING_FULL, totals.cgroup_ring_drops),
        (lost::COUNTERS_FULL, totals.overflow_pages),
        (lost::UNATTRIBUTED, totals.unattributed_pages),
        (lost::MISSED, totals.missed_events(skipped)),
        (lost::STALLS_FULL, totals.stall_overflow),
        (lost::UNDECODABLE, undecodable),
    ]
    .into()
}

/// What has a trend. The metric's unit is empty for the host.
fn exhaustion(made: &Forecasts) -> BTreeMap<Exhaustion, f64> {
    let made = made.iter().flat_map(|made| made.iter());
    made.filter_map(|made| match made.forecast {
        Forecast::Exhausts { expected, .. } => {
            let labels = Exhaustion {
                resource: made.resource.as_str(),
                unit: Arc::from(made.unit.as_deref().unwrap_or_default()),
            };
            Some((labels, expected))
        }
        _ => None,
    })
    .collect()
}

fn collect<T, K: Ord, V>(items: Vec<T>, entry: impl Fn(T) -> (K, V)) -> BTreeMap<K, V> {
    items.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Resource, ResourceForecast};

    #[test]
    fn only_what_has_a_trend_is_among_the_metrics() {
        let made = |resource, unit: Option<&str>, forecast| ResourceForecast {
            resource,
            unit: unit.map(str::to_owned),
            used: 1,
            limit: 2,
            forecast,
        };
        let soon = Forecast::Exhausts {
            earliest: 60.0,
            expected: 90.5,
            latest: 120.0,
        };
        let all = [
            made(Resource::Ram, None, soon),
            made(Resource::Swap, None, Forecast::NoTrend),
            made(Resource::MemoryMax, Some("a.service"), soon),
            made(Resource::MemoryMax, Some("full.service"), Forecast::Reached),
        ];
        let shown: Vec<String> = exhaustion(&Some(Arc::from(all)))
            .into_iter()
            .map(|(labels, seconds)| format!("{} {:?} {seconds}", labels.resource, labels.unit))
            .collect();
        assert_eq!(shown, ["memory_max \"a.service\" 90.5", "ram \"\" 90.5"]);
        assert!(exhaustion(&None).is_empty());
    }
}
