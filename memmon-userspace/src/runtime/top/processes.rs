//! The processes of a unit, for its page.

use std::{fs, path::Path};

use crate::{
    decode::process::MemoryUse,
    export::top::{Process, Processes},
    source::cgroup_tree::CgroupTree,
};

/// Processes that are read.
const MOST: usize = 300;
/// Cgroups that are looked into.
const CGROUPS: usize = 300;

/// Reads the processes in `cgroup` and below: those with most memory in swap first. What has ended meanwhile is left
/// out, and without a cgroup tree there are none.
pub(super) fn read(unit: String, cgroup: &str) -> Processes {
    let pids = CgroupTree::discover(Path::new("/")).map(|tree| pids(&tree.dir(cgroup)));
    let (pids, cut) = pids.unwrap_or_default();
    let mut all: Vec<(MemoryUse, u32)> = pids
        .into_iter()
        .filter_map(|pid| {
            let status = fs::read(format!("/proc/{pid}/status")).ok()?;
            Some((MemoryUse::parse(&String::from_utf8_lossy(&status)), pid))
        })
        .collect();
    all.sort_by(|(a, one), (b, other)| (b.swap, b.resident, one).cmp(&(a.swap, a.resident, other)));
    let all = all
        .into_iter()
        .map(|(used, pid)| Process::new(pid, &used.name, used.resident, used.swap));
    Processes {
        unit,
        all: all.collect(),
        cut,
    }
}

/// Process ids, and whether there are more.
fn pids(dir: &Path) -> (Vec<u32>, bool) {
    let mut pids = Vec::new();
    let mut pending = vec![dir.to_owned()];
    for _ in 0..CGROUPS {
        let Some(dir) = pending.pop() else { break };
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        if pids.len() > MOST {
            break;
        }
        let children = fs::read_dir(&dir).into_iter().flatten().flatten();
        let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        pending.extend(children.filter(is_dir).map(|entry| entry.path()));
    }
    let cut = pids.len() > MOST || !pending.is_empty();
    pids.truncate(MOST);
    (pids, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_nested_cgroups_are_found_and_their_number_is_limited() {
        let tree = tempfile::tempdir().expect("temporary directory");
        let nested = tree.path().join("a/b");
        fs::create_dir_all(&nested).expect("made");
        fs::write(tree.path().join("cgroup.procs"), "5\n").expect("written");
        fs::write(nested.join("cgroup.procs"), "7\n0\nx\n").expect("written");
        assert_eq!(pids(tree.path()), (vec![5, 7, 0], false));
        let many: String = (0..400).map(|pid| format!("{pid}\n")).collect();
        fs::write(tree.path().join("cgroup.procs"), many).expect("written");
        let (found, cut) = pids(tree.path());
        assert_eq!((found.len(), cut), (MOST, true));
        assert_eq!(pids(&tree.path().join("none")), (Vec::new(), false));
    }
}
