//! What /proc says about this process's mappings.

use std::{collections::BTreeSet, fs};

use crate::pages::PageRange;

/// Whose files are memory: it goes to swap, and no process owns it.
const SHARED: [&str; 4] = ["/dev/zero", "/dev/shm/", "/memfd:", "/SYSV"];

/// How many bytes of these pages are shared memory, and what it is called; none where /proc does not tell.
pub(crate) fn shared(ranges: &[PageRange]) -> (usize, BTreeSet<String>) {
    let maps = fs::read("/proc/self/maps").unwrap_or_default();
    shared_in(&String::from_utf8_lossy(&maps), ranges)
}

/// As [`shared`], from the text of /proc/PID/maps.
fn shared_in(maps: &str, ranges: &[PageRange]) -> (usize, BTreeSet<String>) {
    let (mut bytes, mut names) = (0, BTreeSet::new());
    for (mapping, name) in maps.lines().filter_map(shared_mapping) {
        let inside: usize = ranges
            .iter()
            .map(|range| {
                let (start, end) = (range.start.max(mapping.start), range.end.min(mapping.end));
                end.saturating_sub(start)
            })
            .sum();
        if inside > 0 {
            bytes += inside;
            names.insert(name.to_owned());
        }
    }
    (bytes, names)
}

/// `3000-5000 rw-s 00000000 00:01 7  /dev/zero (deleted)` as its pages and name.
fn shared_mapping(line: &str) -> Option<(PageRange, &str)> {
    let (addresses, rest) = line.split_once(' ')?;
    let (permissions, rest) = rest.split_once(' ')?;
    let name = rest.get(rest.find('/')?..)?;
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    if !permissions.ends_with('s') || !SHARED.iter().any(|kind| name.starts_with(kind)) {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let pages = PageRange {
        start: address(start)?,
        end: address(end)?,
    };
    Some((pages, name))
}

#[cfg(test)]
#[path = "maps_tests.rs"]
mod tests;
