//! The unit index: which cgroup id belongs to which unit, from the first scan until the agent ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::facts::{self, UnitFacts};
use super::resolved::{LifeUpdate, Resolved, ScanUpdate, UnitState};
use super::unit_name;
use crate::config::{Config, Priority};
use crate::decode::{CgroupChange, CgroupLife};
use crate::source::cgroup_tree::Scan;
use crate::source::systemd::UnitInfo;

#[derive(Debug)]
struct Entry {
    path: Option<Arc<str>>,
    unit: Arc<str>,
    alive: bool,
    /// Number of scans begun when this entry was made: a scan says nothing about what came after it began.
    born: u64,
}

#[derive(Debug, Default)]
struct Unit {
    alive: Vec<u64>,
    facts: Option<UnitFacts>,
}

/// Cgroup ids and the units they belong to. One task owns it.
///
/// An id, once known, keeps its unit: kernfs never uses an id twice (its upper half is a generation), so a
/// restarted unit has a new id and the old one still names the pages it left in swap. What it costs: cgroups
/// in the tree or dying take about 100 bytes plus their path, far below what the kernel itself spends on
/// them; those that the kernel has released take 24 bytes, and [`Self::forget_released`] drops the ones
/// that no counter mentions, so that what remains is bounded by the tree and the kernel's counter map.
#[derive(Debug, Default)]
pub struct UnitIndex {
    /// In the tree, or removed and possibly with pages.
    known: HashMap<u64, Entry>,
    /// Released by the kernel. Separate from `known` because there may be very many.
    released: HashMap<u64, Arc<str>>,
    by_path: HashMap<Arc<str>, u64>,
    units: HashMap<Arc<str>, Unit>,
    scans: u64,
}

impl UnitIndex {
    /// An index that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks the moment a scan of the tree begins; give it to [`Self::apply_scan`].
    pub fn scan_token(&mut self) -> u64 {
        self.scans += 1;
        self.scans
    }

    /// Takes over a scan of the tree that began at `token`.
    ///
    /// Never brings back what an event has already removed, and removes nothing that appeared since the
    /// scan began.
    pub fn apply_scan(&mut self, token: u64, scan: &Scan) -> ScanUpdate {
        let mut update = ScanUpdate::default();
        let mut seen = HashSet::with_capacity(scan.cgroups.len());
        for cgroup in &scan.cgroups {
            seen.insert(cgroup.id);
            if self.learn(cgroup.id, &cgroup.path) {
                update.added.push(cgroup.id);
            }
        }
        if scan.complete {
            update.removed = self
                .known
                .iter()
                .filter(|(id, entry)| entry.alive && entry.born < token && !seen.contains(id))
                .map(|(&id, _)| id)
                .collect();
            for &id in &update.removed {
                self.remove(id);
            }
        }
        update
    }

    /// Takes over one cgroup event.
    pub fn apply_life(&mut self, event: &CgroupLife) -> LifeUpdate {
        match event.change {
            CgroupChange::Mkdir => self.apply_mkdir(event),
            CgroupChange::Rmdir => match self.remove(event.id) {
                true => self
                    .resolve(event.id)
                    .map_or(LifeUpdate::Unchanged, LifeUpdate::Removed),
                false => LifeUpdate::Unchanged,
            },
            CgroupChange::Release => {
                self.remove(event.id);
                match self.known.remove(&event.id) {
                    Some(entry) => {
                        self.released.insert(event.id, entry.unit);
                        LifeUpdate::Released
                    }
                    None => LifeUpdate::Unchanged,
                }
            }
        }
    }

    fn apply_mkdir(&mut self, event: &CgroupLife) -> LifeUpdate {
        let added = match &event.path {
            Some(path) => self.learn(event.id, path),
            // The path did not fit into the record. What is inside a service or scope belongs to it, whatever
            // it is called; below a slice only the name would tell.
            None => match event.parent.and_then(|parent| self.known.get(&parent)) {
                Some(parent) if unit_name::kind_of(&parent.unit).owns_subtree() => {
                    let unit = Arc::clone(&parent.unit);
                    self.insert(event.id, None, unit)
                }
                _ if self.is_known(event.id) => false,
                _ => return LifeUpdate::NeedsScan,
            },
        };
        match self.resolve(event.id) {
            Some(resolved) if added => LifeUpdate::Added(resolved),
            _ => LifeUpdate::Unchanged,
        }
    }

    /// Notes that `id` is in the tree at `path`; true if it was not known before.
    fn learn(&mut self, id: u64, path: &str) -> bool {
        if self.released.contains_key(&id) {
            return false;
        }
        if let Some(entry) = self.known.get(&id) {
            // Seen by a scan that was overtaken by the removal, or the same again.
            if !entry.alive {
                return false;
            }
            if let Some(known) = entry.path.as_ref().filter(|known| known.as_ref() == path) {
                // A scan runs ahead of the events: those of an earlier cgroup at this path, handled after
                // the scan, have taken the path away.
                self.by_path.entry(Arc::clone(known)).or_insert(id);
                return false;
            }
        }
        let unit = self.intern(unit_name::owner_of(path).unit);
        if self.known.get(&id).is_some_and(|entry| entry.unit != unit) {
            // Renamed, which only cgroup v1 allows: it was never the other unit's restart.
            self.remove(id);
            self.known.remove(&id);
        }
        self.insert(id, Some(Arc::from(path)), unit)
    }

    /// Adds an entry or gives it its path; true if it was not there.
    fn insert(&mut self, id: u64, path: Option<Arc<str>>, unit: Arc<str>) -> bool {
        if self.released.contains_key(&id) {
            return false;
        }
        if let Some(path) = &path {
            self.by_path.insert(Arc::clone(path), id);
        }
        if let Some(entry) = self.known.get_mut(&id) {
            if let Some(old) = entry.path.take()
                && self.by_path.get(&old) == Some(&id)
                && path.as_ref() != Some(&old)
            {
                self.by_path.remove(&old);
            }
            entry.path = path;
            return false;
        }
        self.units.entry(Arc::clone(&unit)).or_default().alive.push(id);
        self.known.insert(
            id,
            Entry {
                path,
                unit,
                alive: true,
                born: self.scans,
            },
        );
        true
    }

    /// Marks `id` as gone from the tree; true if it was there.
    fn remove(&mut self, id: u64) -> bool {
        let Some(entry) = self.known.get_mut(&id).filter(|entry| entry.alive) else {
            return false;
        };
        entry.alive = false;
        if let Some(path) = &entry.path
            && self.by_path.get(path) == Some(&id)
        {
            self.by_path.remove(path);
        }
        if let Some(unit) = self.units.get_mut(&entry.unit) {
            unit.alive.retain(|&other| other != id);
        }
        true
    }

    /// One shared copy of each unit's name.
    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some((name, _)) = self.units.get_key_value(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = Arc::from(name);
        self.units.insert(Arc::clone(&name), Unit::default());
        name
    }

    fn is_known(&self, id: u64) -> bool {
        self.known.contains_key(&id) || self.released.contains_key(&id)
    }

    /// What is known of the cgroup `id`, gone ones included. `None` calls for a scan; if that does not find
    /// it either, it was gone before the agent could see it, and its name is unknown for ever.
    pub fn resolve(&self, id: u64) -> Option<Resolved> {
        if let Some(unit) = self.released.get(&id) {
            let kind = unit_name::kind_of(unit);
            let unit = Arc::clone(unit);
            return Some(Resolved {
                id,
                unit,
                kind,
                path: None,
                alive: false,
                delegated: false,
            });
        }
        let entry = self.known.get(&id)?;
        let mut resolved = Resolved {
            id,
            unit: Arc::clone(&entry.unit),
            kind: unit_name::kind_of(&entry.unit),
            path: entry.path.clone(),
            alive: entry.alive,
            delegated: false,
        };
        // A cgroup without a path was found through a parent inside the unit: it is nested.
        let nested = resolved.is_nested().unwrap_or(true);
        resolved.delegated = nested && self.facts(&entry.unit).is_some_and(|facts| facts.delegated);
        Some(resolved)
    }

    /// The unit of the cgroup `id`; as [`Self::resolve`], for those who need only the name.
    pub fn unit_of(&self, id: u64) -> Option<&Arc<str>> {
        self.known
            .get(&id)
            .map(|entry| &entry.unit)
            .or_else(|| self.released.get(&id))
    }

    /// The cgroup that is at `path` now.
    pub fn id_at(&self, path: &str) -> Option<u64> {
        self.by_path.get(path).copied()
    }

    /// The unit's own cgroup: its id and path. `None` if the unit has none at present.
    pub fn cgroup_of_unit(&self, unit: &str) -> Option<(u64, &Arc<str>)> {
        let owns = |path: &str| {
            let owner = unit_name::owner_of(path);
            owner.unit == unit && !owner.is_nested(path)
        };
        // The path must still lead to this id: while a restart is being followed there may be two.
        let current = |id: u64, path: &str| self.by_path.get(path) == Some(&id);
        self.ids_of_unit(unit)
            .iter()
            .filter_map(|id| Some((*id, self.known.get(id)?.path.as_ref()?)))
            .find(|(id, path)| owns(path) && current(*id, path))
    }

    /// The cgroups in the tree that belong to `unit`, nested ones included.
    pub fn ids_of_unit(&self, unit: &str) -> &[u64] {
        self.units.get(unit).map_or(&[], |unit| &unit.alive)
    }

    /// Every unit that has or had a cgroup, or of which systemd told something; in no order.
    pub fn units(&self) -> impl Iterator<Item = UnitState<'_>> {
        self.units.iter().map(|(name, unit)| UnitState {
            name,
            kind: unit_name::kind_of(name),
            alive: &unit.alive,
            facts: unit.facts.as_ref(),
        })
    }

    /// What systemd says about `unit`; `None` if nothing.
    pub fn facts(&self, unit: &str) -> Option<&UnitFacts> {
        self.units.get(unit)?.facts.as_ref()
    }

    /// The priority of `unit` that counts: the configured one of its name or alias, lowered to what its unit file
    /// asks for.
    pub fn priority(&self, config: &Config, unit: &str) -> Priority {
        facts::priority(config, unit, self.facts(unit))
    }

    /// Notes what systemd says about `unit`.
    pub fn set_facts(&mut self, unit: &str, facts: UnitFacts) {
        let name = self.intern(unit);
        self.units.entry(name).or_default().facts = Some(facts);
    }

    /// Notes a whole snapshot of systemd; it replaces everything that systemd said before.
    pub fn set_all_facts(&mut self, units: &[UnitInfo]) {
        for unit in self.units.values_mut() {
            unit.facts = None;
        }
        for info in units {
            self.set_facts(&info.name, info.into());
        }
    }

    /// Forgets what systemd said about `unit`, because systemd has unloaded it.
    pub fn clear_facts(&mut self, unit: &str) {
        if let Some(unit) = self.units.get_mut(unit) {
            unit.facts = None;
        }
    }

    /// Forgets released cgroups unless `counted` says that a kernel counter still mentions them, and then
    /// units of which nothing is left. Returns how many cgroups were forgotten.
    ///
    /// Call it with the ids of a counter snapshot *after* that snapshot went into the ledgers. A released
    /// cgroup can own no page, so no new counter for it can appear.
    pub fn forget_released(&mut self, counted: impl Fn(u64) -> bool) -> usize {
        let before = self.released.len();
        self.released.retain(|&id, _| counted(id));
        let forgotten = before - self.released.len();
        if forgotten > 0 {
            // The name's last user but this map is gone: one reference is left.
            self.units.retain(|name, unit| {
                !unit.alive.is_empty() || unit.facts.is_some() || Arc::strong_count(name) > 1
            });
            self.released.shrink_to(self.released.len() * 2);
            self.units.shrink_to(self.units.len() * 2);
        }
        forgotten
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
