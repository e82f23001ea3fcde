//! The attached eBPF programs and their maps.

use std::{fs, io, path::Path};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf},
};
use memmon_common::{
    event::{CriticalState, StallHistogram, StallKey, SwapOutKey, total},
    names,
    offsets::{FILTER_BITS, Settings},
};

use crate::kernel::{
    load::{self, HookStatus, LoadError, MapSizes},
    plan::{self, Facts},
    probe::{self, ProbeError, VMLINUX_BTF},
    programs::{self, ProgramStats},
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
    /// The object has no such map.
    #[error("the eBPF object has no map {0}: memmon was built from mismatched sources")]
    NoMap(&'static str),
    /// `/proc/cgroups` could not be read or has no memory controller.
    #[error("finding the memory controller in /proc/cgroups: {0}")]
    MemoryController(io::Error),
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
}

/// How to open the probes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A record for every swapped-out folio, not only for critical cgroups.
    pub emit_all: bool,
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
    swap_out: PerCpuHashMap<MapData, SwapOutKey, u64>,
    swap_write: PerCpuHashMap<MapData, u64, u64>,
    swap_read: PerCpuHashMap<MapData, u64, u64>,
    totals: PerCpuArray<MapData, u64>,
    critical: HashMap<MapData, u64, CriticalState>,
    filter: Array<MapData, u64>,
    stalls: HashMap<MapData, StallKey, StallHistogram>,
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, OpenError> {
    let map = ebpf.take_map(name).ok_or(OpenError::NoMap(name))?;
    T::try_from(map).map_err(|source| OpenError::Map { name, source })
}

/// The hierarchy that carries the memory controller: 0 = cgroup v2.
///
/// # Errors
/// If `/proc/cgroups` cannot be read or has no memory controller (`cgroup_disable=memory`).
pub fn memory_hierarchy(proc: &Path) -> io::Result<u32> {
    let text = fs::read_to_string(proc.join("cgroups"))?;
    text.lines()
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let (name, hierarchy) = (words.next()?, words.next()?);
            let enabled = words.nth(1)? == "1";
            (name == "memory" && enabled).then(|| hierarchy.parse().ok())?
        })
        .ok_or_else(|| {
            io::Error::other("no enabled memory controller; boot without cgroup_disable=memory to have one")
        })
}

impl Probes {
    /// Loads and attaches everything this kernel offers.
    ///
    /// # Errors
    /// If something required is missing; each error names it.
    pub fn open(options: Options) -> Result<(Self, Rings), OpenError> {
        let facts = probe::facts(&probe::read_btf(Path::new(VMLINUX_BTF))?);
        let plan = plan::plan(&facts);
        let memory_hierarchy = memory_hierarchy(Path::new("/proc")).map_err(OpenError::MemoryController)?;
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
        let probes = Self {
            swap_out: take(&mut ebpf, names::SWAP_OUT)?,
            swap_write: take(&mut ebpf, names::SWAP_WRITE)?,
            swap_read: take(&mut ebpf, names::SWAP_READ)?,
            totals: take(&mut ebpf, names::TOTALS)?,
            critical: take(&mut ebpf, names::CRITICAL)?,
            filter: take(&mut ebpf, names::CRITICAL_FILTER)?,
            stalls: take(&mut ebpf, names::STALLS)?,
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
        self.hooks
            .iter()
            .any(|hook| hook.planned.role == role && hook.attached.is_ok())
    }

    /// Hierarchy of the memory controller: 0 = cgroup v2.
    pub const fn memory_hierarchy(&self) -> u32 {
        self.memory_hierarchy
    }

    /// aya's handle, for its log and for benchmarks.
    pub const fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Statistics of the programs.
    pub fn stats(&self) -> Vec<ProgramStats> {
        programs::stats(&self.ebpf)
    }

    /// Swapped-out pages since the programs were attached, by owner, reclaimer and kind.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn swap_out(&self) -> Result<Vec<(SwapOutKey, u64)>, MapError> {
        self.swap_out
            .iter()
            .map(|item| item.map(|(key, values)| (key, values.iter().sum())))
            .collect()
    }

    /// Pages written to swap devices by owner; `None` where that ledger is not attached.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn swap_write(&self) -> Result<Option<Vec<(u64, u64)>>, MapError> {
        self.has("swap_write").then(|| sums(&self.swap_write)).transpose()
    }

    /// Pages read back from swap by owner; `None` where that ledger is not attached.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn swap_read(&self) -> Result<Option<Vec<(u64, u64)>>, MapError> {
        self.has("swap_read").then(|| sums(&self.swap_read)).transpose()
    }

    /// Totals over all CPUs.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn totals(&self) -> Result<Totals, MapError> {
        let get = |index: u32| {
            self.totals
                .get(&index, 0)
                .map(|values| values.iter().sum::<u64>())
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
        })
    }

    /// Stall times by cgroup and kind.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn stalls(&self) -> Result<Vec<(StallKey, StallHistogram)>, MapError> {
        self.stalls.iter().collect()
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

fn sums(map: &PerCpuHashMap<MapData, u64, u64>) -> Result<Vec<(u64, u64)>, MapError> {
    map.iter()
        .map(|item| item.map(|(key, values)| (key, values.iter().sum())))
        .collect()
}
