//! Limits as systemd names and stores them. Pure.
//!
//! Sources: systemd 252 and 257, `src/core/unit.c` (`unit_write_setting`, `unit_drop_in_dir`),
//! `src/shared/dropin.c` (`drop_in_file`, `unit_file_find_dropin_paths`), `src/core/cgroup.c`
//! (`cgroup_context_apply`, `unit_has_unified_memory_config`), `src/basic/cgroup-util.c` (`cg_escape`).

use std::collections::BTreeMap;

use crate::decode::Limit;
use crate::policy::Property;

/// systemd's number for "no limit" (`CGROUP_LIMIT_MAX`, shown as `infinity`). 0 is a limit like any other.
const INFINITY: u64 = u64::MAX;

/// The memory settings that systemd applies together whenever one of them changes: property, cgroup file.
pub const MEMORY_SETTINGS: [(&str, &str); 6] = [
    ("MemoryMin", "memory.min"),
    ("MemoryLow", "memory.low"),
    ("MemoryHigh", "memory.high"),
    ("MemoryMax", "memory.max"),
    ("MemorySwapMax", "memory.swap.max"),
    ("MemoryZSwapMax", "memory.zswap.max"),
];

/// Switches that systemd applies along with them, as 0 or 1: property (`OOMPolicy` counts as 1 if it is
/// `kill`), cgroup file.
pub const MEMORY_SWITCHES: [(&str, &str); 2] = [
    ("OOMPolicy", "memory.oom.group"),
    ("MemoryZSwapWriteback", "memory.zswap.writeback"),
];

/// The value that systemd's property has for `limit`.
pub const fn to_property(limit: Limit) -> u64 {
    match limit {
        Limit::Bytes(bytes) => bytes,
        Limit::Max => INFINITY,
    }
}

/// The limit that systemd's property means.
pub const fn from_property(value: u64) -> Limit {
    if value == INFINITY {
        Limit::Max
    } else {
        Limit::Bytes(value)
    }
}

/// Where `SetUnitProperties(runtime=true)` writes for the unit: always into the transient directory for a
/// transient unit (`systemd-run`), else into the runtime control directory.
pub fn drop_in_path(unit: &str, property: Property, transient: bool) -> String {
    let base = if transient { TRANSIENT } else { RUNTIME_CONTROL };
    format!("{base}/{unit}.d/{}", drop_in_name(property))
}

/// `/run/systemd/system.control`.
const RUNTIME_CONTROL: &str = "/run/systemd/system.control";
/// `/run/systemd/transient`.
const TRANSIENT: &str = "/run/systemd/transient";

fn drop_in_name(property: Property) -> String {
    format!("50-{property}.conf")
}

/// `content` sets `property` to `value` and nothing else: what systemd writes for memmon. One that an
/// operator has made since differs in the value.
pub fn drop_in_says(content: &str, property: Property, value: Limit) -> bool {
    let mut lines = content
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';', '[']));
    let setting = lines.next().and_then(|line| line.split_once('='));
    let expected = match value {
        Limit::Bytes(bytes) => bytes.to_string(),
        Limit::Max => "infinity".into(),
    };
    setting == Some((property.as_str(), expected.as_str())) && lines.next().is_none()
}

/// Those of the unit's drop-ins that are read after ours, so that a setting in them wins at the next
/// daemon-reload: systemd sorts all of them by file name alone, and of two with the same name reads only the
/// one in the directory that comes first, which a persistent `set-property` (`/etc`) does.
pub fn later_drop_ins<'a>(paths: &'a [String], property: Property, ours: &str) -> Vec<&'a str> {
    let name = drop_in_name(property);
    let file_name = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
    paths
        .iter()
        .map(String::as_str)
        .filter(|path| *path != ours && file_name(path).as_bytes() >= name.as_bytes())
        .collect()
}

/// The D-Bus interface that carries a unit's memory properties; `None` for a type without a cgroup.
pub fn interface(unit: &str) -> Option<&'static str> {
    Some(match unit.rsplit_once('.')?.1 {
        "service" => "org.freedesktop.systemd1.Service",
        "slice" => "org.freedesktop.systemd1.Slice",
        "scope" => "org.freedesktop.systemd1.Scope",
        "socket" => "org.freedesktop.systemd1.Socket",
        "mount" => "org.freedesktop.systemd1.Mount",
        "swap" => "org.freedesktop.systemd1.Swap",
        _ => return None,
    })
}

/// `name` may be the name of a unit (`unit_name_is_valid`): in particular it cannot leave a directory.
pub fn is_unit_name(name: &str) -> bool {
    const LONGEST: usize = 255;
    let Some((prefix, kind)) = name.rsplit_once('.') else {
        return false;
    };
    name.len() <= LONGEST
        && !prefix.is_empty()
        && !prefix.starts_with('@')
        && !kind.is_empty()
        && kind.bytes().all(|byte| byte.is_ascii_lowercase())
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

/// `path` is the directory of `unit` itself, in the system manager's tree. False for anything below a unit that
/// is not a slice: there begins what is delegated (`Delegate=`, `user@.service`, containers).
pub fn is_unit_directory(path: &str, unit: &str) -> bool {
    let mut components = path.trim_start_matches('/').rsplit('/').map(cgroup_name);
    is_unit_name(unit)
        && components.next() == Some(unit)
        && components.all(|ancestor| ancestor.ends_with(".slice") && is_unit_name(ancestor))
}

/// The name a directory of the cgroup tree stands for: systemd puts `_` before a name that the kernel could
/// mistake for one of its own files, or that begins with `_` itself.
fn cgroup_name(component: &str) -> &str {
    component.strip_prefix('_').unwrap_or(component)
}

/// Why systemd must not be asked to change any memory setting: it writes all of them, and who writes `memory.high`,
/// even with the same value, reclaims down to it. That would be PID 1. `files` are the cgroup's as they are, a limit
/// that memmon raised included: systemd is asked for that one as well.
pub fn would_reclaim(files: &BTreeMap<&'static str, Limit>) -> Option<String> {
    match (files.get("memory.high"), files.get("memory.current")) {
        (Some(Limit::Bytes(high)), Some(Limit::Bytes(current))) if current > high => Some(format!(
            "the unit uses {current} bytes of memory.high {high}: systemd would reclaim"
        )),
        _ => None,
    }
}

/// Why systemd must not be asked to change one memory setting, as it would change others as well: it applies all of
/// them at once. `None` if it is safe.
///
/// `properties` and `memory_limit` are systemd's; `files` the cgroup's, with what memmon itself wrote there
/// taken back out. A file that this kernel lacks is absent.
pub fn unsafe_to_set(
    properties: &BTreeMap<String, Limit>,
    memory_limit: Option<Limit>,
    files: &BTreeMap<&'static str, Limit>,
    page_size: u64,
) -> Option<String> {
    let is_set = |name: &str| match (name, properties.get(name)) {
        (_, None) => false,
        ("MemoryMin" | "MemoryLow", Some(value)) => *value != Limit::Bytes(0),
        (_, Some(value)) => *value != Limit::Max,
    };
    if memory_limit.is_some_and(|limit| limit != Limit::Max)
        && !MEMORY_SETTINGS.iter().any(|(name, _)| is_set(name))
    {
        return Some("only MemoryLimit= is set, which systemd drops once a newer setting is there".into());
    }
    let limits = MEMORY_SETTINGS.iter().map(|pair| (pair, page_size));
    let switches = MEMORY_SWITCHES.iter().map(|pair| (pair, 1));
    limits.chain(switches).find_map(|((name, file), unit)| {
        let (property, actual) = (properties.get(*name)?, files.get(file)?);
        let differs = property.page_aligned(unit) != actual.page_aligned(unit);
        differs.then(|| {
            format!("{file} is {actual} although {name} is {property}: systemd would put that back as well")
        })
    })
}

#[cfg(test)]
#[path = "systemd_props_tests.rs"]
mod tests;
