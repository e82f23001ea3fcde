//! This process's cgroup: whose unit it is, and how much room its limits leave for locked memory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::mm::human;

const MIB: u64 = 1 << 20;
/// A limit of cgroup v1 that stands for none is a few pages below 2^63.
const V1_NONE: u64 = 1 << 62;
/// Bringing in less than this is not worth a look at the host.
const HOST_MATTERS: u64 = 16 * MIB;
const UNIT_SUFFIXES: [&str; 6] = [".service", ".scope", ".slice", ".socket", ".mount", ".swap"];

/// One cgroup on the way to the root, one with a limit. In bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Level {
    /// The file with the limit, for messages.
    name: String,
    limit: u64,
    /// In use, page cache included.
    current: u64,
    /// Page cache that goes without being missed.
    inactive_file: u64,
    /// Locked already.
    unevictable: u64,
}

/// Where the memory of a process is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The cgroup's own directory.
    directory: PathBuf,
    v2: bool,
}

/// Below a limit, 5 % stay unlocked, at least 16 MiB, but never more than half.
fn reserve(limit: u64) -> u64 {
    (limit / 20).max(16 * MIB).min(limit / 2)
}

/// Why memory must not be locked, or `None`.
///
/// What is locked cannot be reclaimed: once it fills a limit, whatever else the unit needs ends in the OOM killer.
/// `to_bring_in` is the part of `to_lock` that is not in RAM yet.
fn refusal(levels: &[Level], to_lock: u64, to_bring_in: u64) -> Option<String> {
    levels.iter().find_map(|level| {
        let keep = reserve(level.limit);
        let limit = format!("{} ({})", level.name, human(level.limit));
        if level.unevictable + to_lock > level.limit - keep {
            return Some(format!(
                "locking {} on top of {} would leave less than {} of {limit} for everything else: lock less, or \
                 raise it",
                human(to_lock),
                human(level.unevictable),
                human(keep)
            ));
        }
        let free = level
            .limit
            .saturating_sub(level.current.saturating_sub(level.inactive_file));
        (to_bring_in > free).then(|| {
            format!(
                "{} are not in RAM and {limit} leaves only {}: free memory first, or raise it",
                human(to_bring_in),
                human(free)
            )
        })
    })
}

/// Why this process must not lock so much, or `None`. Where nothing can be read, nothing is refused.
pub(crate) fn room(to_lock: u64, to_bring_in: u64) -> Option<String> {
    let host = (to_bring_in >= HOST_MATTERS).then(host).flatten();
    host.and_then(|host| refusal(&[host], to_bring_in, to_bring_in))
        .or_else(|| refusal(&limits(&own()?, to_lock), to_lock, to_bring_in))
}

fn host() -> Option<Level> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    };
    let (total, available) = (bytes("MemTotal:")?, bytes("MemAvailable:")?);
    let used = total.saturating_sub(available);
    Some(Level {
        name: "the host's RAM".to_owned(),
        limit: total,
        current: used,
        inactive_file: 0,
        unevictable: used,
    })
}

/// The levels whose limit `to_lock` more bytes could come near, from the innermost outwards.
fn limits(cgroup: &Cgroup, to_lock: u64) -> Vec<Level> {
    let (files, usage, prefix): (&[_], _, _) = if cgroup.v2 {
        (&["memory.max", "memory.high"], "memory.current", "")
    } else {
        (&["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_")
    };
    let mut found = Vec::new();
    let inside = |dir: &&Path| dir.starts_with(&cgroup.mount);
    for dir in cgroup.directory.ancestors().take_while(inside) {
        for file in files {
            let Some(limit) = number(&dir.join(file)).filter(|limit| *limit < V1_NONE) else {
                continue;
            };
            let current = number(&dir.join(usage)).unwrap_or(0);
            // memory.stat is costly to read; nothing in it matters while all of it fits.
            if current + to_lock <= limit - reserve(limit) {
                continue;
            }
            let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
            let field = |name: &str| {
                let lines = stat.lines().filter_map(|line| line.split_once(' '));
                let mut values = lines.filter(|(key, _)| key.strip_prefix(prefix) == Some(name));
                values
                    .next()
                    .and_then(|(_, value)| value.parse().ok())
                    .unwrap_or(0)
            };
            let shown = dir.strip_prefix(&cgroup.mount).unwrap_or(dir);
            found.push(Level {
                name: format!("{file} of /{}", shown.display()),
                limit,
                current,
                inactive_file: field("inactive_file"),
                unevictable: field("unevictable"),
            });
        }
    }
    found
}

/// The cgroup that this process's memory is charged to, `None` without a memory controller.
pub(crate) fn own() -> Option<Cgroup> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    parse(&cgroups, &fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// As [`own`], from the texts of /proc/PID/cgroup and /proc/PID/mountinfo.
fn parse(cgroups: &str, mounts: &str) -> Option<Cgroup> {
    let entries: Vec<(&str, &str)> = cgroups.lines().filter_map(entry).collect();
    let v1 = entries
        .iter()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"));
    let v2 = v1.is_none();
    let (_, path) = v1.or_else(|| entries.iter().find(|(controllers, _)| controllers.is_empty()))?;
    if path.starts_with("/..") {
        // Outside of what this cgroup namespace shows.
        return None;
    }
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let kind = right.next()?;
        let mut memory = || {
            right
                .next_back()
                .is_some_and(|options| options.split(',').any(|name| name == "memory"))
        };
        if !(v2 && kind == "cgroup2" || !v2 && kind == "cgroup" && memory()) {
            return None;
        }
        let mut left = left.split(' ').skip(3);
        let (root, mount) = (left.next()?, Path::new(left.next()?));
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Cgroup {
            directory: mount.components().chain(below.components()).collect(),
            mount: mount.to_owned(),
            v2,
        })
    })
}

/// `4:memory:/path` as controllers and path.
fn entry(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')?.1.split_once(':')
}

impl Cgroup {
    /// Its `memory.pressure`; `None` on cgroup v1.
    pub(crate) fn pressure(&self) -> Option<PathBuf> {
        self.v2.then(|| self.directory.join("memory.pressure"))
    }
}

/// The units this process belongs to, the outermost first: slices, then the service or scope.
pub(crate) fn units() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let entries = || text.lines().filter_map(entry);
    let named = entries().find(|(controllers, _)| *controllers == "name=systemd");
    let Some((_, path)) = named.or_else(|| entries().find(|(controllers, _)| controllers.is_empty())) else {
        return Vec::new();
    };
    // systemd escapes what would look like a file of the kernel with a leading underscore.
    path.split('/')
        .map(|part| part.strip_prefix('_').unwrap_or(part))
        .filter(|part| {
            UNIT_SUFFIXES
                .iter()
                .any(|suffix| part.len() > suffix.len() && part.ends_with(suffix))
        })
        .map(str::to_owned)
        .collect()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
