//! `/proc/PID/pagemap`: where a process's pages are (Documentation/admin-guide/mm/pagemap.rst).

/// Bytes of an entry.
pub const ENTRY: usize = 8;
const SWAPPED: u64 = 1 << 62;

/// Runs of consecutive pages that are in swap: index of the first, and how many. `entries` are those of the
/// pages from the first one on; a cut-off last entry is left out.
pub fn swapped_runs(entries: &[u8]) -> Vec<(u64, u64)> {
    let (entries, _) = entries.as_chunks::<ENTRY>();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (index, entry) in (0..).zip(entries) {
        if u64::from_le_bytes(*entry) & SWAPPED == 0 {
            continue;
        }
        match runs.last_mut() {
            Some((first, count)) if *first + *count == index => *count += 1,
            _ => runs.push((index, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        const PRESENT: u64 = 1 << 63;
        let entries = [PRESENT, SWAPPED | 7, SWAPPED, 0, SWAPPED, PRESENT];
        let mut bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        assert_eq!(swapped_runs(&bytes), [(1, 2), (4, 1)]);
        bytes.truncate(2 * ENTRY + 3);
        assert_eq!(swapped_runs(&bytes), [(1, 1)]);
        assert_eq!(swapped_runs(&[]), []);
    }
}
