//! The agent must not become a victim of what it watches.

use std::{
    ffi::{CStr, c_int, c_void},
    fs,
    ops::Range,
};

use rustix::mm::{Advice, MlockAllFlags, madvise, mlockall};

const OOM_SCORE_ADJ: i32 = -900;

/// Has malloc give back what a peak has taken, such as reading all units: by itself it keeps the more the larger blocks
/// it has seen (mallopt(3), `M_MMAP_THRESHOLD`), and what it keeps is locked.
pub(super) fn keep_little() {
    const KEPT: c_int = 128 << 10;
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: two numbers. Where it is refused, malloc keeps what it would.
        unsafe { libc::mallopt(parameter, KEPT) };
    }
}

/// Locks the agent's memory and asks the OOM killer to look elsewhere. What is not permitted is told and left.
pub(super) fn protect() {
    // Reading the kernel's BTF took tens of megabytes, which malloc would keep and we would lock.
    // SAFETY: no argument but how much to leave at the top of the heap.
    unsafe { libc::malloc_trim(0) };
    // Code that the reaction needs must not have to be read from disk then; of the rest, what is touched.
    for part in needed() {
        populate(&part);
    }
    if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        tracing::warn!(
            "the agent's memory is not locked: {error}; run it with CAP_IPC_LOCK or a sufficient LimitMEMLOCK="
        );
    }
    let path = "/proc/self/oom_score_adj";
    let current = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if current.is_none_or(|current| current > OOM_SCORE_ADJ)
        && let Err(error) = fs::write(path, OOM_SCORE_ADJ.to_string())
    {
        tracing::warn!(
            "{path} is not {OOM_SCORE_ADJ}: {error}; set OOMScoreAdjust= in the unit or give CAP_SYS_RESOURCE"
        );
    }
}

/// Reads in part of a file that is mapped. Kernels before 5.14 cannot, and then only what has run already is in memory.
fn populate(part: &Range<usize>) {
    // SAFETY: populating for reading changes nothing but what is resident.
    let populated = unsafe { madvise(part.start as *mut _, part.len(), Advice::LinuxPopulateRead) };
    if let Err(error) = populated {
        tracing::debug!("reading in what is mapped at {:#x}: {error}", part.start);
    }
}

/// What of the program and of the C library can run or be read: all but the tables for unwinding the stack, which are
/// for backtraces. Other libraries are for less urgent things. Whole pages.
fn needed() -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    // SAFETY: the callback has the signature that is called for, and `parts` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(object), (&raw mut parts).cast()) };
    parts
}

/// Called for each object that is loaded, with the vector of [`needed`].
unsafe extern "C" fn object(info: *mut libc::dl_phdr_info, _: usize, parts: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) vouches for the first, `needed` for the second.
    let (info, parts) = unsafe { (&*info, &mut *parts.cast::<Vec<Range<usize>>>()) };
    // SAFETY: dl_iterate_phdr(3): a string, and as many headers as there are.
    let (name, headers) = unsafe {
        (
            CStr::from_ptr(info.dlpi_name).to_bytes(),
            std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)),
        )
    };
    let file = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // The program itself has no name there.
    if name.is_empty() || file.starts_with(b"libc.so") {
        parts.extend(parts_of(info.dlpi_addr, headers));
    }
    0
}

/// The parts of one object that is loaded at `base`.
fn parts_of(base: u64, headers: &[libc::Elf64_Phdr]) -> impl Iterator<Item = Range<usize>> {
    const PAGE: u64 = 4096;
    let unwinding = headers
        .iter()
        .find(|header| header.p_type == libc::PT_GNU_EH_FRAME);
    let unwinding = unwinding.map_or(u64::MAX, |header| header.p_vaddr);
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    loaded.filter_map(move |header| {
        let mut span = header.p_vaddr..header.p_vaddr + header.p_memsz;
        if span.contains(&unwinding) {
            // Linkers put them last.
            span.end = unwinding;
        }
        let start = usize::try_from((base + span.start) & !(PAGE - 1)).ok()?;
        let end = usize::try_from((base + span.end).next_multiple_of(PAGE)).ok()?;
        (start < end).then_some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn header(kind: u32, address: u64, size: u64) -> libc::Elf64_Phdr {
        libc::Elf64_Phdr {
            p_type: kind,
            p_flags: libc::PF_R,
            p_offset: 0,
            p_vaddr: address,
            p_paddr: 0,
            p_filesz: size,
            p_memsz: size,
            p_align: 0x1000,
        }
    }

    #[test]
    fn of_an_object_all_is_needed_but_the_tables_for_unwinding() {
        let headers = [
            header(libc::PT_LOAD, 0x40, 0x7fc0),
            header(libc::PT_LOAD, 0x8123, 0x1000),
            header(libc::PT_GNU_EH_FRAME, 0x5040, 0x100),
        ];
        let parts: Vec<_> = parts_of(0x10_0000, &headers).collect();
        assert_eq!(parts, [0x10_0000..0x10_6000, 0x10_8000..0x10_a000]);
    }

    #[test]
    fn code_that_runs_is_among_what_is_needed() {
        let here = needed as *const () as usize;
        assert!(needed().iter().any(|part| part.contains(&here)), "{here:#x}");
    }

    /// Pages of this process that are mapped, by `/proc/self/pagemap`.
    fn mapped(part: &Range<usize>) -> usize {
        let pagemap = fs::File::open("/proc/self/pagemap").expect("pagemap");
        let mut entries = vec![0; part.len() / 4096 * 8];
        let at = u64::try_from(part.start / 4096 * 8).expect("an offset");
        pagemap.read_exact_at(&mut entries, at).expect("entries");
        entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
    }

    #[test]
    fn what_is_needed_is_mapped_afterwards() {
        for part in needed() {
            populate(&part);
            assert_eq!(mapped(&part), part.len() / 4096, "{part:x?}");
        }
    }
}
