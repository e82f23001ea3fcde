//! The text of `/proc/swaps`, the zswap lines of `/proc/meminfo`, and a cgroup's `memory.stat`.

use super::cgroup_file::flat_keyed;

/// Swap areas by what they are made of, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapAreas {
    /// Size of the areas on disks and in files.
    pub disk_total: u64,
    /// What is used of them.
    pub disk_used: u64,
    /// Size of the zram devices.
    pub zram_total: u64,
    /// What is used of them.
    pub zram_used: u64,
}

impl SwapAreas {
    /// Parses `/proc/swaps`; malformed lines are skipped.
    pub fn parse(text: &str) -> Self {
        let mut areas = Self::default();
        for line in text.lines().skip(1) {
            // The name may hold anything but has its blanks escaped; the figures are in KiB.
            let mut fields = line.split_ascii_whitespace();
            let (Some(name), Some(_kind), Some(size), Some(used)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let (Ok(size), Ok(used)) = (size.parse::<u64>(), used.parse::<u64>()) else {
                continue;
            };
            let (total, in_use) = if name.starts_with("/dev/zram") {
                (&mut areas.zram_total, &mut areas.zram_used)
            } else {
                (&mut areas.disk_total, &mut areas.disk_used)
            };
            *total += size * 1024;
            *in_use += used * 1024;
        }
        areas
    }
}

/// What zswap keeps, bytes before compression (`Zswapped` of `/proc/meminfo`, from 5.19); `None` where this kernel
/// does not tell.
pub fn zswapped(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("Zswapped:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1024)
}

/// What a cgroup's memory is, bytes (`memory.stat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// Anonymous memory that can be reclaimed.
    pub anon: u64,
    /// File cache that is neither dirty nor being written.
    pub clean_file: u64,
    /// File cache that was not used lately.
    pub inactive_file: u64,
    /// Pages swapped out, where the kernel counts them per cgroup (from 6.13).
    pub pswpout: Option<u64>,
}

impl MemoryStat {
    /// Parses the file; what is missing counts as 0.
    pub fn parse(text: &str) -> Self {
        let mut stat = Self::default();
        let (mut file, mut busy) = (0_u64, 0_u64);
        for (key, value) in flat_keyed(text) {
            match key {
                "active_anon" | "inactive_anon" => stat.anon += value,
                "active_file" => file += value,
                "inactive_file" => {
                    file += value;
                    stat.inactive_file = value;
                }
                "file_dirty" | "file_writeback" => busy += value,
                "pswpout" => stat.pswpout = Some(value),
                _ => {}
            }
        }
        stat.clean_file = file.saturating_sub(busy);
        stat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_told_apart() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/zram0                              partition\t524284\t\t1024\t\t100\n\
            /swap\\040file                           file\t\t1048572\t\t0\t\t-2\n\
            /dev/vdb                                partition\t2048\t\t512\t\t-3\n";
        let areas = SwapAreas::parse(text);
        assert_eq!(areas.zram_total, 524_284 * 1024);
        assert_eq!(areas.zram_used, 1 << 20);
        assert_eq!(
            (areas.disk_total, areas.disk_used),
            ((1_048_572 + 2048) * 1024, 512 * 1024)
        );
        assert_eq!(
            SwapAreas::parse("Filename Type Size Used Priority\n"),
            SwapAreas::default()
        );
        assert_eq!(SwapAreas::parse(""), SwapAreas::default());
    }

    #[test]
    fn zswap_is_told_where_the_kernel_does() {
        assert_eq!(
            zswapped("MemTotal: 1 kB\nZswap:      12 kB\nZswapped:     100 kB\n"),
            Some(102_400)
        );
        assert_eq!(zswapped("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn clean_cache_leaves_out_what_is_dirty() {
        let text = "anon 999\nfile 500\ninactive_anon 10\nactive_anon 20\ninactive_file 300\nactive_file 100\n\
            file_dirty 50\nfile_writeback 25\npswpout 7\n";
        let expected = MemoryStat {
            anon: 30,
            clean_file: 325,
            inactive_file: 300,
            pswpout: Some(7),
        };
        assert_eq!(MemoryStat::parse(text), expected);
        assert_eq!(
            MemoryStat::parse("inactive_file 10\nfile_dirty 50\n").clean_file,
            0
        );
    }
}
