//! What is mapped at an address of a process, remembered for a while.

use std::{collections::HashMap, sync::Arc};

use crate::{
    decode::{Mappings, ProcessId, start_ticks},
    source::proc::Proc,
};

/// How long a reading is good for, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;
/// A new mapping may be asked for soon after it was made, but reading takes the process's own locks.
const AGAIN_NS: u64 = 100_000_000;
/// Processes remembered; all are forgotten when there are more.
const PROCESSES: usize = 256;

/// Names of mappings.
#[derive(Debug)]
pub(super) struct MappingNames {
    proc: Proc,
    ticks_per_second: u64,
    known: HashMap<ProcessId, (u64, Mappings)>,
}

impl MappingNames {
    /// Reads below `proc`.
    pub(super) fn new(proc: Proc) -> Self {
        Self {
            proc,
            ticks_per_second: rustix::param::clock_ticks_per_second(),
            known: HashMap::new(),
        }
    }

    /// The name of what is mapped at `address`, at this moment or a second ago; `None` if nothing is, the process
    /// is gone, or its id belongs to another one by now. `now_ns` is any monotonic clock.
    pub(super) fn at(&mut self, process: ProcessId, address: u64, now_ns: u64) -> Option<Arc<str>> {
        let age = self
            .known
            .get(&process)
            .map(|(read_ns, mappings)| (now_ns.saturating_sub(*read_ns), mappings.at(address)));
        match age {
            Some((age, Some(name))) if age < FRESH_NS => return Some(Arc::clone(name)),
            Some((age, None)) if age < AGAIN_NS => return None,
            _ => {}
        }
        if self.known.len() >= PROCESSES {
            self.known.clear();
        }
        let mappings = self.read(process).unwrap_or_default();
        let name = mappings.at(address).cloned();
        self.known.insert(process, (now_ns, mappings));
        name
    }

    fn read(&self, process: ProcessId) -> Option<Mappings> {
        let maps = self.proc.maps(process.tgid).ok()?;
        // Looked at after the maps: if it is still the process we mean, the maps were its own.
        let stat = self.proc.stat(process.tgid).ok()?;
        let started = start_ticks(&stat)?;
        (started == process.started(self.ticks_per_second)).then(|| Mappings::parse(&maps))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PROCESS: ProcessId = ProcessId {
        tgid: 412,
        start_ns: 1_239_999_999,
    };

    fn host(started: u64, maps: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = root.path().join("412");
        fs::create_dir(&dir).expect("a directory");
        let stat = format!("412 (x) S{} {started} 0 0", " 0".repeat(18));
        fs::write(dir.join("stat"), stat).expect("stat");
        fs::write(dir.join("maps"), maps).expect("maps");
        root
    }

    fn name(names: &mut MappingNames, address: u64, now_ns: u64) -> Option<String> {
        names.at(PROCESS, address, now_ns).map(|name| name.to_string())
    }

    #[test]
    fn a_reading_is_remembered_and_renewed() {
        let root = host(123, "1000-2000 rw-p 0 00:00 0 [heap]\n");
        let mut names = MappingNames::new(Proc::at(root.path()));
        assert_eq!(name(&mut names, 0x1000, 0).as_deref(), Some("[heap]"));
        fs::write(root.path().join("412/maps"), "1000-3000 rw-p 0 00:00 0 [new]\n").expect("maps");
        assert_eq!(name(&mut names, 0x1000, FRESH_NS - 1).as_deref(), Some("[heap]"));
        assert_eq!(
            name(&mut names, 0x2000, AGAIN_NS - 1),
            None,
            "not read again so soon"
        );
        assert_eq!(name(&mut names, 0x2000, AGAIN_NS).as_deref(), Some("[new]"));
    }

    #[test]
    fn another_process_of_that_id_is_not_taken_for_it() {
        let root = host(124, "1000-2000 rw-p 0 00:00 0 [heap]\n");
        let mut names = MappingNames::new(Proc::at(root.path()));
        assert_eq!(name(&mut names, 0x1000, 0), None);
    }

    #[test]
    fn a_process_that_is_gone_has_no_mappings() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let mut names = MappingNames::new(Proc::at(root.path()));
        assert_eq!(name(&mut names, 0x1000, 0), None);
    }
}
