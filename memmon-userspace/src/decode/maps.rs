//! `/proc/PID/maps`: what is mapped where. And when a process started, from `/proc/PID/stat`.

use std::ops::Range;
use std::sync::Arc;

/// The mappings of a process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings(Vec<Mapping>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    readable: bool,
    name: Arc<str>,
}

impl Mappings {
    /// Reads `/proc/PID/maps`; lines that are none are passed over. Source: proc_pid_maps(5).
    pub fn parse(text: &str) -> Self {
        let mut mappings: Vec<Mapping> = text.lines().filter_map(line).collect();
        mappings.sort_by_key(|mapping| mapping.start);
        Self(mappings)
    }

    /// The name of what is mapped at `address`, as the last column of `/proc/PID/maps` (`[heap]`, `[stack]`, a
    /// path); `[anon]` for memory without a name. `None` if nothing is mapped there.
    pub fn at(&self, address: u64) -> Option<&Arc<str>> {
        let behind = self.0.partition_point(|mapping| mapping.start <= address);
        let mapping = self.0.get(behind.checked_sub(1)?)?;
        (address < mapping.end).then_some(&mapping.name)
    }

    /// The parts of `range` that are mapped and may be read, by address.
    pub fn readable(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.0.partition_point(|mapping| mapping.end <= range.start);
        self.0[first..]
            .iter()
            .take_while(move |mapping| mapping.start < range.end)
            .filter(|mapping| mapping.readable)
            .map(move |mapping| mapping.start.max(range.start)..mapping.end.min(range.end))
    }
}

fn line(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        readable: rest.starts_with('r'),
        name: name(rest).into(),
    })
}

/// The path is what follows four more columns (permissions, offset, device, inode), and may have blanks itself.
fn name(columns: &str) -> &str {
    let mut rest = columns;
    for _ in 0..4 {
        rest = rest.trim_start_matches(' ');
        rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
    }
    match rest.trim_start_matches(' ') {
        "" => "[anon]",
        name => name,
    }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)). The name of
/// the process, in parentheses, may have blanks and parentheses itself.
pub fn start_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    // The first field behind the name is the third.
    behind_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Mappings, start_ticks};

    const MAPS: &str = "\
5555d0000000-5555d0002000 r--p 00000000 fe:01 1234                       /usr/bin/with blank
5555d1000000-5555d1021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0 
7f0000200000-7f0000300000 rw-s 00000000 00:01 77                         /memfd:x (deleted)
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
";

    #[test]
    fn the_name_is_the_last_column() {
        let mappings = Mappings::parse(MAPS);
        for (address, name) in [
            (0x5555_d000_1fff, Some("/usr/bin/with blank")),
            (0x5555_d000_2000, None),
            (0x5555_d100_0000, Some("[heap]")),
            (0x7f00_0000_0000, Some("[anon]")),
            (0x7f00_0020_0000, Some("/memfd:x (deleted)")),
            (0x7ffd_0000_0000, Some("[stack]")),
            (u64::MAX, None),
            (0, None),
        ] {
            assert_eq!(mappings.at(address).map(|name| &**name), name, "{address:#x}");
        }
    }

    #[test]
    fn what_is_no_line_of_maps_is_passed_over() {
        assert_eq!(
            Mappings::parse("garbage\n\nzz-yy r 0 0 0 x\n"),
            Mappings::default()
        );
    }

    #[test]
    fn the_start_is_behind_a_name_that_looks_like_fields() {
        let stat = "412 (a) 9 (b) S 1 412 412 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 2 3";
        assert_eq!(start_ticks(stat), Some(987_654));
        assert_eq!(start_ticks("412 (cut) S 1"), None);
        assert_eq!(start_ticks(""), None);
    }
}
