//! `/proc/PID/maps`: what is mapped at an address.

/// The name of what is mapped at `address`, as the last column of `/proc/PID/maps` (`[heap]`, `[stack]`, a path);
/// `[anon]` for memory without a name. `None` if nothing is mapped there. Source: proc_pid_maps(5).
pub fn mapping_at(maps: &str, address: u64) -> Option<String> {
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        (start..end).contains(&address).then(|| name(rest))
    })
}

/// The path is what follows four more columns (permissions, offset, device, inode), and may have blanks itself.
fn name(columns: &str) -> String {
    let mut rest = columns;
    for _ in 0..4 {
        rest = rest.trim_start_matches(' ');
        rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
    }
    match rest.trim_start_matches(' ') {
        "" => "[anon]".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::mapping_at;

    const MAPS: &str = "\
5555d0000000-5555d0002000 r--p 00000000 fe:01 1234                       /usr/bin/with blank
5555d1000000-5555d1021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0 
7f0000200000-7f0000300000 rw-s 00000000 00:01 77                         /memfd:x (deleted)
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
";

    #[test]
    fn the_name_is_the_last_column() {
        for (address, name) in [
            (0x5555_d000_1fff, Some("/usr/bin/with blank")),
            (0x5555_d000_2000, None),
            (0x5555_d100_0000, Some("[heap]")),
            (0x7f00_0000_0000, Some("[anon]")),
            (0x7f00_0020_0000, Some("/memfd:x (deleted)")),
            (0x7ffd_0000_0000, Some("[stack]")),
            (0, None),
        ] {
            assert_eq!(mapping_at(MAPS, address).as_deref(), name, "{address:#x}");
        }
    }

    #[test]
    fn what_is_no_line_of_maps_is_passed_over() {
        assert_eq!(mapping_at("garbage\n\nzz-yy r 0 0 0 x\n", 0), None);
    }
}
