//! The page-level programs and their maps: a load of its own, made when somebody asks and dropped afterwards,
//! so that a host without tags pays nothing.

use std::{
    collections::{BTreeSet, HashMap as Processes},
    io,
    path::Path,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf},
};
use memmon_common::{
    names,
    offsets::Settings,
    page::{
        FRONT_MORE, FRONT_SLOTS, PROCESS_RANGES, ProcessTags, RegionState, SLICE_REST_NS, TAG_RANGES,
        TagRange, front_entry, page_total,
    },
};

use super::{
    mapped::MappedArray,
    probes::{OpenError, take},
    tag_slices::Slices,
};
use crate::kernel::{
    load::{self, HookStatus, MapSizes},
    plan::{
        PlannedHook,
        pages::{self, PAGE_COMMIT, PAGE_UNMAP, PAGE_WALK, PageLevel},
    },
    probe::{self, VMLINUX_BTF},
    programs::{self, ProgramStats},
};

const PAGE_SIZE: u64 = 4096;

/// How to open the page-level programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageOptions {
    /// A record for every page (`memmon trace --pages`), not only for tagged regions.
    pub all: bool,
    /// A record for every page of tagged regions (`memmon trace`), not only for the first after a pause.
    pub every_hit: bool,
    /// Hierarchy of the memory controller: 0 = cgroup v2.
    pub memory_hierarchy: u32,
    /// Map sizes other than the object's.
    pub sizes: MapSizes,
}

/// Why a process's ranges could not be set. Its earlier ranges are still in force.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// More than a process can have.
    #[error("process {tgid}: {count} tagged ranges are more than the {PROCESS_RANGES} a process can have")]
    TooMany {
        /// The process.
        tgid: u32,
        /// How many it wanted.
        count: usize,
    },
    /// The shared table has no room; replaced slices come free after [`SLICE_REST_NS`].
    #[error(
        "process {tgid}: no room for {count} tagged ranges, {free} of {TAG_RANGES} are free; untag some or try again"
    )]
    TableFull {
        /// The process.
        tgid: u32,
        /// How many it wanted.
        count: usize,
        /// How many are left, not necessarily in one piece.
        free: u32,
    },
    /// A range is empty, not page-aligned, without a label, beyond the address space, or not after the one before it.
    #[error(
        "process {tgid}: tagged range {index} (start {start:#x}) is empty, unaligned, unlabelled or out of order"
    )]
    Malformed {
        /// The process.
        tgid: u32,
        /// Which range.
        index: usize,
        /// Where it starts.
        start: u64,
    },
    /// A map could not be written; the map of processes may be full.
    #[error("process {tgid}: writing the tagged ranges: {source}")]
    Map {
        /// The process.
        tgid: u32,
        /// Why.
        source: MapError,
    },
}

/// Totals over all CPUs; see [`page_total`] for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageTotals {
    /// Pages whose process or address could not be told.
    pub unknown_pages: u64,
    /// Pages of tagged regions whose counter found no room.
    pub overflow_pages: u64,
    /// Records dropped because the ring buffer was full.
    pub ring_drops: u64,
    /// Pages of folios with more mappings than were looked at.
    pub cut_pages: u64,
    /// Unmappings the kernel did not run the program for: their pages are among the unknown, if anywhere.
    pub recursion_misses: u64,
}

/// Attached page-level programs with their maps; dropping it detaches everything and forgets all tags.
pub struct PageProbes {
    ebpf: Ebpf,
    hooks: Vec<HookStatus>,
    level: PageLevel,
    ranges: MappedArray,
    tagged: HashMap<MapData, u32, ProcessTags>,
    front: MappedArray,
    regions: HashMap<MapData, u32, RegionState>,
    totals: PerCpuArray<MapData, u64>,
    slices: Slices,
    processes: Processes<u32, ProcessTags>,
    generation: u32,
}

impl PageProbes {
    /// Loads and attaches the exact programs or, where this kernel refuses them, the approximate one.
    ///
    /// The ring carries [`memmon_common::page::PageRecord`]s and [`memmon_common::page::TagsGone`];
    /// [`crate::decode::decode_page`] reads both.
    ///
    /// # Errors
    /// If this kernel allows neither ([`load::LoadError::Required`] says why), or a map is missing.
    pub fn open(options: PageOptions) -> Result<(Self, RingBuf<MapData>), OpenError> {
        let facts = probe::facts(&probe::read_btf(Path::new(VMLINUX_BTF))?);
        let settings = Settings {
            memory_hierarchy: options.memory_hierarchy,
            critical_interval_ns: if options.every_hit {
                0
            } else {
                Settings::DEFAULT.critical_interval_ns
            },
            ..Settings::DEFAULT
        };
        let mut object = load::page_object(
            &probe::kernel_facts(&facts),
            &probe::page_facts(&facts, options.all),
            &settings,
            options.sizes,
        )?;
        let (hooks, level) = attach(&mut object, &pages::plan(&facts))?;
        let mut ebpf = object.ebpf;
        let ring = take(&mut ebpf, names::PAGES)?;
        let probes = Self {
            ranges: mapped(&mut ebpf, names::TAG_RANGES, 2 * TAG_RANGES)?,
            tagged: take(&mut ebpf, names::TAGGED)?,
            front: mapped(&mut ebpf, names::TAG_FRONT, FRONT_SLOTS)?,
            regions: take(&mut ebpf, names::REGIONS)?,
            totals: take(&mut ebpf, names::PAGE_TOTALS)?,
            slices: Slices::new(TAG_RANGES, SLICE_REST_NS),
            processes: Processes::new(),
            generation: 0,
            ebpf,
            hooks,
            level,
        };
        Ok((probes, ring))
    }

    /// Whether process and address are certain.
    pub const fn level(&self) -> PageLevel {
        self.level
    }

    /// What became of each role of the page-level plan.
    pub fn hooks(&self) -> &[HookStatus] {
        &self.hooks
    }

    /// aya's handle, for benchmarks.
    pub const fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Statistics of the programs.
    pub fn stats(&self) -> Vec<ProgramStats> {
        programs::stats(&self.ebpf)
    }

    /// Replaces the tagged ranges of a process: sorted by start, disjoint, page-aligned. No ranges: as
    /// [`Self::clear_process_tags`]. `now_ns` is any monotonic clock.
    ///
    /// Afterwards the caller makes sure that the process is still the one it meant (a pidfd that is not
    /// readable) and clears the tags if not: a process that ended before this call took no tags along.
    ///
    /// # Errors
    /// [`TagError`]; the ranges set before stay in force.
    pub fn set_process_tags(&mut self, tgid: u32, ranges: &[TagRange], now_ns: u64) -> Result<(), TagError> {
        if ranges.is_empty() {
            return self.clear_process_tags(tgid, now_ns);
        }
        let count = u32::try_from(ranges.len())
            .ok()
            .filter(|&count| count <= PROCESS_RANGES)
            .ok_or(TagError::TooMany {
                tgid,
                count: ranges.len(),
            })?;
        if let Some(index) = malformed(ranges) {
            let start = ranges.get(index).map_or(0, |range| range.start);
            return Err(TagError::Malformed { tgid, index, start });
        }
        let first = self
            .slices
            .take(count, now_ns)
            .ok_or_else(|| TagError::TableFull {
                tgid,
                count: ranges.len(),
                free: self.slices.free(),
            })?;
        self.generation = self.generation.wrapping_add(1);
        let tags = ProcessTags {
            first,
            count,
            generation: self.generation,
            reserved: 0,
        };
        match self.publish(tgid, tags, ranges) {
            Ok(()) => {
                let before = self.processes.insert(tgid, tags);
                self.show(tgid);
                self.give(before, now_ns);
                Ok(())
            }
            Err(source) => {
                self.slices.give(first, count, now_ns);
                Err(TagError::Map { tgid, source })
            }
        }
    }

    /// The ranges first, then the process's entry, so that no program ever finds half a set.
    fn publish(&mut self, tgid: u32, tags: ProcessTags, ranges: &[TagRange]) -> Result<(), MapError> {
        for (index, range) in (tags.first..).zip(ranges) {
            self.ranges.set(2 * index, range.start);
            let rest = u64::from(range.pages) | u64::from(range.label) << 32;
            self.ranges.set(2 * index + 1, rest);
        }
        self.tagged.insert(tgid, tags, 0)
    }

    /// Puts one of the processes that belong to the same entry in front of the map.
    fn show(&mut self, tgid: u32) {
        let slot = tgid % FRONT_SLOTS;
        let there: Vec<(u32, ProcessTags)> = self
            .processes
            .iter()
            .filter(|(other, _)| **other % FRONT_SLOTS == slot)
            .map(|(&other, &tags)| (other, tags))
            .collect();
        let (tagged, front) = (&self.tagged, &mut self.front);
        show(
            there,
            |tgid, generation| {
                let now = tagged.get(&tgid, 0);
                now.is_ok_and(|now| now.generation == generation)
            },
            |entry| front.set(slot, entry),
        );
    }

    /// Entries of the table that can be handed out now.
    pub fn room(&mut self, now_ns: u64) -> u32 {
        self.slices.available(now_ns)
    }

    /// Takes all tags of a process away. That it has none is no error.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn clear_process_tags(&mut self, tgid: u32, now_ns: u64) -> Result<(), TagError> {
        match self.tagged.remove(&tgid) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|source| TagError::Map { tgid, source })?,
        }
        self.forget(tgid, now_ns);
        Ok(())
    }

    /// Gives back the room of a process whose tags the programs removed ([`crate::decode::PageEvent::TagsGone`]);
    /// `true` if those were its tags. Those of a later generation stay.
    pub fn tags_gone(&mut self, tgid: u32, generation: u32, now_ns: u64) -> bool {
        let theirs = self
            .processes
            .get(&tgid)
            .is_some_and(|tags| tags.generation == generation);
        if theirs {
            self.forget(tgid, now_ns);
        }
        theirs
    }

    /// Looks for processes whose tags the programs removed without our having read the record, and gives their
    /// room back. For after [`PageTotals::ring_drops`] has grown. Returns their ids.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn sweep(&mut self, now_ns: u64) -> Result<Vec<u32>, MapError> {
        let there: BTreeSet<u32> = self.tagged.keys().collect::<Result<_, _>>()?;
        let gone: Vec<u32> = self
            .processes
            .keys()
            .copied()
            .filter(|tgid| !there.contains(tgid))
            .collect();
        for &tgid in &gone {
            self.forget(tgid, now_ns);
        }
        Ok(gone)
    }

    fn forget(&mut self, tgid: u32, now_ns: u64) {
        let before = self.processes.remove(&tgid);
        self.show(tgid);
        self.give(before, now_ns);
    }

    fn give(&mut self, tags: Option<ProcessTags>, now_ns: u64) {
        if let Some(tags) = tags {
            self.slices.give(tags.first, tags.count, now_ns);
        }
    }

    /// Processes with tags and how many ranges each has.
    pub fn processes(&self) -> impl Iterator<Item = (u32, u32)> {
        self.processes.iter().map(|(&tgid, tags)| (tgid, tags.count))
    }

    /// Pages of tagged regions that went to swap since the programs were attached, by label.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn region_hits(&self) -> Result<Vec<(u32, u64)>, MapError> {
        self.regions
            .iter()
            .map(|item| item.map(|(label, state)| (label, state.pages)))
            .collect()
    }

    /// Forgets the hits of a label that is gone for good, which makes room for others. That there are none is
    /// no error.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn forget_region(&mut self, label: u32) -> Result<(), MapError> {
        match self.regions.remove(&label) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Totals over all CPUs.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn totals(&self) -> Result<PageTotals, MapError> {
        let get = |index: u32| Ok::<u64, MapError>(self.totals.get(&index, 0)?.iter().sum());
        Ok(PageTotals {
            unknown_pages: get(page_total::UNKNOWN_PAGES)?,
            overflow_pages: get(page_total::OVERFLOW_PAGES)?,
            ring_drops: get(page_total::RING_DROPS)?,
            cut_pages: get(page_total::CUT_PAGES)?,
            recursion_misses: self.recursion_misses(),
        })
    }

    /// How often the kernel skipped one of the programs, because the CPU was in one of them already.
    pub fn recursion_misses(&self) -> u64 {
        self.stats()
            .iter()
            .filter(|stats| stats.name.starts_with("page_"))
            .map(|stats| stats.recursion_misses)
            .sum()
    }
}

/// Has `set` put one of the processes in front, those that `is_tagged` says no more of left out.
///
/// A process may end meanwhile: a program then takes its tags out of the map first, and out of the front after that.
/// So it is asked again once it is in front: if it still has its tags, the program has yet to come by there.
fn show(mut there: Vec<(u32, ProcessTags)>, is_tagged: impl Fn(u32, u32) -> bool, mut set: impl FnMut(u64)) {
    loop {
        there.retain(|(tgid, tags)| is_tagged(*tgid, tags.generation));
        let more = if there.len() > 1 { FRONT_MORE } else { 0 };
        let Some((tgid, tags)) = there.first() else {
            return set(0);
        };
        set(front_entry(*tgid, tags.first, tags.count) | more);
        if is_tagged(*tgid, tags.generation) {
            return;
        }
    }
}

/// The memory of an array map of `words` words.
fn mapped(ebpf: &mut Ebpf, name: &'static str, words: u32) -> Result<MappedArray, OpenError> {
    let map = ebpf.take_map(name).ok_or(OpenError::NoMap(name))?;
    MappedArray::new(map, words).map_err(|source| OpenError::Memory { name, source })
}

/// Attaches the life of processes and the exact way, or the approximate one in its place.
fn attach(
    object: &mut load::Object,
    plan: &[PlannedHook],
) -> Result<(Vec<HookStatus>, PageLevel), load::LoadError> {
    let (walk, exact): (Vec<_>, Vec<_>) = plan.iter().partition(|planned| planned.role == PAGE_WALK);
    let mut hooks: Vec<HookStatus> = exact.into_iter().map(|planned| object.attach(planned)).collect();
    let failed = hooks.iter().find_map(|status| {
        let reason = status.attached.as_ref().err()?;
        Some((status.planned.clone(), reason.clone()))
    });
    let Some((planned, reason)) = failed else {
        hooks.extend(walk.into_iter().map(|planned| HookStatus {
            planned: planned.clone(),
            attached: Err("not needed: the exact way is attached".to_owned()),
        }));
        return Ok((hooks, PageLevel::Exact));
    };
    let required = |planned: &PlannedHook, reason: String| load::LoadError::Required {
        role: planned.role,
        purpose: planned.purpose,
        reason,
    };
    if planned.required {
        return Err(required(&planned, reason));
    }
    // One half of the exact way is no use without the other.
    for status in &mut hooks {
        if [PAGE_UNMAP, PAGE_COMMIT].contains(&status.planned.role) && status.attached.is_ok() {
            object.detach(status, format!("without {}: {reason}", planned.role));
        }
    }
    for planned in walk {
        let status = object.attach(planned);
        if let Err(why) = &status.attached {
            return Err(required(planned, format!("{why}; and the exact way: {reason}")));
        }
        hooks.push(status);
    }
    Ok((hooks, PageLevel::Approximate))
}

/// Index of the first range that the programs' search could not deal with.
fn malformed(ranges: &[TagRange]) -> Option<usize> {
    let mut end = 0;
    ranges.iter().position(|range| {
        let bytes = u64::from(range.pages) * PAGE_SIZE;
        let bad = range.start < end
            || range.start % PAGE_SIZE != 0
            || range.pages == 0
            || range.label == 0
            || range.start.checked_add(bytes).is_none();
        end = range.start.saturating_add(bytes);
        bad
    })
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
