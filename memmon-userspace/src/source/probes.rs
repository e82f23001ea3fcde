//! The attached eBPF programs and their maps.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf},
};
use memmon_common::{
    event::{
        COPY_SHIFT, CriticalState, OpenRun, SWAP_OUT_COPIES, StallHistogram, StallKey, SwapOutKey, total,
    },
    names,
    offsets::{FILTER_BITS, Settings},
};

use crate::kernel::{
    load::{self, HookStatus, LoadError, MapSizes},
    plan::{self, Facts},
    probe::{self, ProbeError, VMLINUX_BTF},
    programs::{self, ProgramStats, Programs},
};

/// Why the probes could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No usable BTF.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The programs could not be loaded or a required hook not be attached.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map is missing from the object or of another type than the contract says.
    #[error("map {name} of the eBPF object: {source}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why.
        source: MapError,
    },
    /// The memory of a map cannot be shared with the programs.
    #[error("mapping the memory of map {name}: {source}")]
    Memory {
        /// Its name.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The object has no such map.
    #[error("the eBPF object has no map {0}: memmon was built from mismatched sources")]
    NoMap(&'static str),
}

/// Totals over all CPUs; see [`memmon_common::event::total`] for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Dirty file pages seen at the swap-out tracepoint.
    pub file_pages: u64,
    /// Swapped-out pages that found no room in the counters.
    pub overflow_pages: u64,
    /// Swapped-out pages without a readable owner.
    pub unattributed_pages: u64,
    /// Records of swap-outs dropped because the ring buffer was full.
    pub ring_drops: u64,
    /// Records of cgroups dropped because their ring buffer was full.
    pub cgroup_ring_drops: u64,
    /// Stalls that found no room.
    pub stall_overflow: u64,
    /// Times kswapd was woken.
    pub kswapd_wakes: u64,
    /// Times kswapd went to sleep.
    pub kswapd_sleeps: u64,
    /// Pages of the swap-write and swap-read ledgers that found no room.
    pub ledger_overflow_pages: u64,
    /// Cgroups below a critical one that found no room in the map of critical cgroups.
    pub critical_overflow: u64,
    /// Events that a later copy of the swap-out program counted because the kernel had skipped those before.
    pub recovered_events: u64,
    /// Events that the first copy left to the next, since it found no room for its mark.
    pub passed_on_events: u64,
}

impl Totals {
    /// Events that no copy of the swap-out program counted, where the kernel skipped the first `skipped` times. The
    /// totals have to be read before that number: then an event in between is one too many, and never hides one.
    pub const fn missed_events(&self, skipped: u64) -> u64 {
        (skipped + self.passed_on_events).saturating_sub(self.recovered_events)
    }
}

/// How to open the probes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A record for every swapped-out folio, not only for critical cgroups.
    pub emit_all: bool,
    /// Hierarchy of the memory controller ([`super::cgroup_tree::CgroupTree::hierarchy`]): 0 = cgroup v2.
    pub memory_hierarchy: u32,
    /// Map sizes other than the object's.
    pub sizes: MapSizes,
    /// aya-log level mask: 0 = off, 1 = error … 5 = trace.
    pub log_level: u8,
}

/// The two ring buffers, to be drained by [`super::ring`].
pub struct Rings {
    /// Swap-out records.
    pub events: RingBuf<MapData>,
    /// Cgroup records.
    pub cgroups: RingBuf<MapData>,
}

/// Attached programs with their maps; dropping it detaches everything.
pub struct Probes {
    ebpf: Ebpf,
    hooks: Vec<HookStatus>,
    facts: Facts,
    memory_hierarchy: u32,
    counters: Arc<Counters>,
    critical: HashMap<MapData, u64, CriticalState>,
    filter: Array<MapData, u64>,
}

/// The kernel's counters. Reading them takes milliseconds where there are very many: not for the thread that
/// reacts to pages.
pub struct Counters {
    swap_out: PerCpuHashMap<MapData, SwapOutKey, u64>,
    open_run: PerCpuArray<MapData, OpenRun>,
    swap_write: PerCpuHashMap<MapData, u64, u64>,
    swap_read: PerCpuHashMap<MapData, u64, u64>,
    totals: PerCpuArray<MapData, u64>,
    stalls: HashMap<MapData, StallKey, StallHistogram>,
    has_swap_write: bool,
    has_swap_read: bool,
}

pub(super) fn take<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, OpenError> {
    let map = ebpf.take_map(name).ok_or(OpenError::NoMap(name))?;
    T::try_from(map).map_err(|source| OpenError::Map { name, source })
}

impl Probes {
    /// Loads and attaches everything this kernel offers.
    ///
    /// # Errors
    /// If something required is missing; each error names it.
    pub fn open(options: Options) -> Result<(Self, Rings), OpenError> {
        let facts = probe::facts(&probe::read_btf(Path::new(VMLINUX_BTF))?);
        let plan = plan::plan(&facts);
        let memory_hierarchy = options.memory_hierarchy;
        let settings = Settings {
            memory_hierarchy,
            emit_all: options.emit_all.into(),
            ..Settings::DEFAULT
        };
        let loaded = load::load(
            &plan,
            &probe::kernel_facts(&facts),
            &settings,
            options.sizes,
            options.log_level,
        )?;
        let mut ebpf = loaded.ebpf;
        let rings = Rings {
            events: take(&mut ebpf, names::EVENTS)?,
            cgroups: take(&mut ebpf, names::CGROUPS)?,
        };
        let attached = |role: &str| is_attached(&loaded.hooks, role);
        let counters = Counters {
            swap_out: take(&mut ebpf, names::SWAP_OUT)?,
            open_run: take(&mut ebpf, names::OPEN_RUN)?,
            swap_write: take(&mut ebpf, names::SWAP_WRITE)?,
            swap_read: take(&mut ebpf, names::SWAP_READ)?,
            totals: take(&mut ebpf, names::TOTALS)?,
            stalls: take(&mut ebpf, names::STALLS)?,
            has_swap_write: attached("swap_write"),
            has_swap_read: attached("swap_read"),
        };
        let probes = Self {
            counters: Arc::new(counters),
            critical: take(&mut ebpf, names::CRITICAL)?,
            filter: take(&mut ebpf, names::CRITICAL_FILTER)?,
            hooks: loaded.hooks,
            facts,
            memory_hierarchy,
            ebpf,
        };
        Ok((probes, rings))
    }

    /// What became of each role of the plan.
    pub fn hooks(&self) -> &[HookStatus] {
        &self.hooks
    }

    /// What was found out about this kernel.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether a role's program is attached.
    pub fn has(&self, role: &str) -> bool {
        is_attached(&self.hooks, role)
    }

    /// The counters, also for another thread.
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Hierarchy of the memory controller: 0 = cgroup v2.
    pub const fn memory_hierarchy(&self) -> u32 {
        self.memory_hierarchy
    }

    /// aya's handle, for its log and for benchmarks.
    pub const fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// The programs, for their statistics to be read elsewhere.
    pub fn programs(&self) -> Programs {
        Programs::of(&self.ebpf)
    }

    /// Statistics of the programs.
    pub fn stats(&self) -> Vec<ProgramStats> {
        programs::stats(&self.ebpf)
    }

    /// As [`Counters::swap_out`].
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn swap_out(&self) -> Result<Vec<(SwapOutKey, u64)>, MapError> {
        self.counters.swap_out()
    }

    /// As [`Counters::swap_write`].
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn swap_write(&self) -> Result<Option<Vec<(u64, u64)>>, MapError> {
        self.counters.swap_write()
    }

    /// As [`Counters::swap_read`].
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn swap_read(&self) -> Result<Option<Vec<(u64, u64)>>, MapError> {
        self.counters.swap_read()
    }

    /// As [`Counters::totals`].
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn totals(&self) -> Result<Totals, MapError> {
        self.counters.totals()
    }

    /// As [`Counters::stalls`].
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn stalls(&self) -> Result<Vec<(StallKey, StallHistogram)>, MapError> {
        self.counters.stalls()
    }

    /// Has every further page of this cgroup reported at once. Cgroups made below it inherit that.
    ///
    /// # Errors
    /// If the map is full or cannot be written.
    pub fn mark_critical(&mut self, cgroup: u64) -> Result<(), MapError> {
        self.critical.insert(cgroup, CriticalState::default(), 0)?;
        let bit = cgroup % FILTER_BITS;
        let index = (bit / 64) as u32;
        let word = self.filter.get(&index, 0)?;
        self.filter.set(index, word | 1 << (bit % 64), 0)
    }

    /// Takes that back. The filter's bit stays: it may stand for another cgroup, and costs one look-up.
    ///
    /// # Errors
    /// If the map cannot be written; that the cgroup was not in it is no error.
    pub fn unmark_critical(&mut self, cgroup: u64) -> Result<(), MapError> {
        match self.critical.remove(&cgroup) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Cgroups marked critical, by the agent or by inheritance.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn critical(&self) -> Result<Vec<u64>, MapError> {
        self.critical.keys().collect()
    }
}

impl Counters {
    /// Swapped-out pages since the programs were attached, by owner, reclaimer and kind.
    ///
    /// Exact once swapping is quiet. While it goes on, pages that a CPU is just moving from its open run to
    /// the map may be missing until the next reading, but none is counted twice.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn swap_out(&self) -> Result<Vec<(SwapOutKey, u64)>, MapError> {
        const TRIES: usize = 8;
        let mut tries = 0;
        loop {
            tries += 1;
            let before = self.runs()?;
            // By the map's own keys first: one that the walk meets twice must not be counted twice.
            let mut found: BTreeMap<SwapOutKey, u64> = BTreeMap::new();
            for item in self.swap_out.iter() {
                let (key, values) = item?;
                found.insert(key, values.iter().sum());
            }
            let mut sums: BTreeMap<SwapOutKey, u64> = BTreeMap::new();
            for (key, pages) in found {
                let kind = key.kind & ((1 << COPY_SHIFT) - 1);
                *sums.entry(SwapOutKey { kind, ..key }).or_default() += pages;
            }
            let runs = self.runs()?;
            let after = self.runs()?;
            let mut settled = true;
            for ((before, run), after) in before.iter().zip(&runs).zip(&after) {
                let changing = run.sequence % 2 != 0;
                if changing || before.sequence != run.sequence || run.sequence != after.sequence {
                    settled = false;
                } else if run.pages != 0 {
                    let key = SwapOutKey {
                        owner: run.owner,
                        reclaimer: run.reclaimer,
                        kind: run.kind,
                    };
                    *sums.entry(key).or_default() += run.pages;
                }
            }
            if settled || tries == TRIES {
                return Ok(sums.into_iter().collect());
            }
        }
    }

    fn runs(&self) -> Result<Vec<OpenRun>, MapError> {
        let mut runs = Vec::new();
        for copy in 0..SWAP_OUT_COPIES {
            runs.extend_from_slice(&self.open_run.get(&copy, 0)?);
        }
        Ok(runs)
    }

    /// Pages written to swap devices by owner; `None` where that ledger is not attached.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn swap_write(&self) -> Result<Option<Vec<(u64, u64)>>, MapError> {
        self.has_swap_write.then(|| sums(&self.swap_write)).transpose()
    }

    /// Pages read back from swap by owner; `None` where that ledger is not attached.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn swap_read(&self) -> Result<Option<Vec<(u64, u64)>>, MapError> {
        self.has_swap_read.then(|| sums(&self.swap_read)).transpose()
    }

    /// Totals over all CPUs.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn totals(&self) -> Result<Totals, MapError> {
        let get = |index: u32| {
            (0..SWAP_OUT_COPIES)
                .map(|copy| {
                    let values = self.totals.get(&(index + copy * total::COUNT), 0)?;
                    Ok(values.iter().sum::<u64>())
                })
                .sum::<Result<u64, MapError>>()
        };
        Ok(Totals {
            file_pages: get(total::FILE_PAGES)?,
            overflow_pages: get(total::OVERFLOW_PAGES)?,
            unattributed_pages: get(total::UNATTRIBUTED_PAGES)?,
            ring_drops: get(total::RING_DROPS)?,
            cgroup_ring_drops: get(total::CGROUP_RING_DROPS)?,
            stall_overflow: get(total::STALL_OVERFLOW)?,
            kswapd_wakes: get(total::KSWAPD_WAKES)?,
            kswapd_sleeps: get(total::KSWAPD_SLEEPS)?,
            ledger_overflow_pages: get(total::LEDGER_OVERFLOW_PAGES)?,
            critical_overflow: get(total::CRITICAL_OVERFLOW)?,
            // In this order: see `Totals::missed_events`.
            recovered_events: get(total::RECOVERED_EVENTS)?,
            passed_on_events: get(total::PASSED_ON_EVENTS)?,
        })
    }

    /// Stall times by cgroup and kind.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn stalls(&self) -> Result<Vec<(StallKey, StallHistogram)>, MapError> {
        self.stalls.iter().collect()
    }
}

fn is_attached(hooks: &[HookStatus], role: &str) -> bool {
    hooks
        .iter()
        .any(|hook| hook.planned.role == role && hook.attached.is_ok())
}

fn sums(map: &PerCpuHashMap<MapData, u64, u64>) -> Result<Vec<(u64, u64)>, MapError> {
    map.iter()
        .map(|item| item.map(|(key, values)| (key, values.iter().sum())))
        .collect()
}
