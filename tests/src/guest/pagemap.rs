//! The page tables' own word on what is swapped: /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).

use std::{fs::File, os::unix::fs::FileExt};

use anyhow::{Context, Result};

use crate::workload::Range;

/// Bit 62 of an entry: the page is swapped.
const SWAPPED: u64 = 1 << 62;
const PAGE: u64 = 4096;

/// The addresses of a process's pages in `range` whose page-table entry says swapped, ascending.
///
/// # Errors
/// If the process is gone.
pub fn swapped(pid: u32, range: Range) -> Result<Vec<u64>> {
    let path = format!("/proc/{pid}/pagemap");
    let file = File::open(&path).with_context(|| format!("opening {path}"))?;
    let pages = usize::try_from(range.length / PAGE)?;
    let mut bytes = vec![0; pages * 8];
    file.read_exact_at(&mut bytes, range.start / PAGE * 8)
        .with_context(|| format!("reading {path}"))?;
    let (entries, _) = bytes.as_chunks::<8>();
    Ok(entries
        .iter()
        .zip((0u64..).map(|page| range.start + page * PAGE))
        .filter(|(entry, _)| u64::from_le_bytes(**entry) & SWAPPED != 0)
        .map(|(_, address)| address)
        .collect())
}
