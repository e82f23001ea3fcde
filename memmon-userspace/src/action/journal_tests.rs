#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use proptest::prelude::*;

use super::super::lease::{LeaseState, SystemdBefore};
use super::*;
use crate::config::OnCriticalSwap;
use crate::decode::Limit;
use crate::policy::{MonoTime, Property};

fn lease(id: u64, unit: &str) -> Lease {
    Lease {
        id: LeaseId(id),
        unit: unit.into(),
        property: Property::MemorySwapMax,
        cgroup: format!("/system.slice/{unit}"),
        inode: 1000 + id,
        old: Limit::Max,
        new: Limit::Bytes(0),
        mode: OnCriticalSwap::Auto,
        reason: "kswapd reclaims for the host – \"quoted\"\nand a line break".into(),
        created: MonoTime(1),
        deadline: MonoTime(2),
        state: LeaseState::Taken,
        systemd: None,
    }
}

fn reopen(dir: &Path) -> Recovered {
    Journal::open(dir).unwrap().1
}

fn bytes(dir: &Path) -> Vec<u8> {
    fs::read(dir.join(NAME)).unwrap()
}

#[test]
fn what_is_on_record_is_found_by_the_next_agent() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, recovered) = Journal::open(dir.path()).unwrap();
    assert!(recovered.leases.is_empty() && !recovered.cut_short && recovered.corrupt.is_none());
    let (first, second) = (
        lease(journal.next_id().0, "a.service"),
        lease(journal.next_id().0, "b.service"),
    );
    journal.record(first.clone()).unwrap();
    journal.record(second).unwrap();
    let official = Lease {
        state: LeaseState::Official,
        systemd: Some(SystemdBefore {
            value: Limit::Max,
            asked: vec![Limit::Bytes(0)],
            drop_in: "/run/systemd/system.control/a.service.d/50-MemorySwapMax.conf".into(),
            drop_in_before: Some("[Service]\nMemorySwapMax=1G\n".into()),
            drop_in_paths: vec!["/etc/systemd/system/a.service.d/override.conf".into()],
            transient: false,
        }),
        ..first
    };
    journal.record(official.clone()).unwrap();
    journal.end(LeaseId(2)).unwrap();
    assert_eq!(reopen(dir.path()).leases, [official]);
}

#[test]
fn numbers_are_not_used_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let id = journal.next_id();
    journal.record(lease(id.0, "a.service")).unwrap();
    assert!(journal.next_id() > id);
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    assert!(journal.next_id() > id);
}

#[test]
fn every_line_is_json_and_the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.record(lease(1, "a.service")).unwrap();
    journal.record(lease(2, "b.service")).unwrap();
    journal.end(LeaseId(1)).unwrap();
    let text = String::from_utf8(bytes(dir.path())).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["lease"]["unit"], "a.service");
    assert_eq!(lines[2]["ended"], 1);
    let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_file_does_not_grow_with_the_number_of_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let stays = journal.next_id();
    journal.record(lease(stays.0, "stays.service")).unwrap();
    for _ in 0..1000 {
        let id = journal.next_id();
        journal.record(lease(id.0, "a.service")).unwrap();
        journal.end(id).unwrap();
    }
    let lines = bytes(dir.path()).iter().filter(|byte| **byte == b'\n').count();
    assert!(lines <= DEAD_LINES + 8, "{lines} lines");
    assert_eq!(reopen(dir.path()).leases.len(), 1);
}

#[test]
fn a_file_removed_under_the_agent_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.record(lease(1, "a.service")).unwrap();
    fs::remove_file(dir.path().join(NAME)).unwrap();
    journal.record(lease(2, "b.service")).unwrap();
    assert_eq!(reopen(dir.path()).leases.len(), 2);
}

#[test]
fn a_full_disk_leaves_no_half_line_and_says_so() {
    // /dev/full cannot be renamed over, so the limit is one on the file's size.
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.record(lease(1, "a.service")).unwrap();
    let before = bytes(dir.path());
    // A descriptor that may only be read stands for the disk that takes nothing.
    journal.file = File::open(dir.path().join(NAME)).unwrap();
    let error = journal.record(lease(2, "b.service")).unwrap_err().to_string();
    assert!(
        error.contains("leases.json") && error.contains("no limit is changed"),
        "{error}"
    );
    assert_eq!(bytes(dir.path()), before);
    assert!(journal.get(LeaseId(2)).is_none());
}

#[test]
fn a_foreign_file_is_kept_aside_and_nothing_is_guessed() {
    let dir = tempfile::tempdir().unwrap();
    for (number, text) in ["garbage", "{}\n", "\n", "{\"leases\":[]}\n", "\0\0\0\0"]
        .iter()
        .enumerate()
    {
        fs::write(dir.path().join(NAME), text).unwrap();
        let recovered = reopen(dir.path());
        let corrupt = recovered.corrupt.unwrap();
        assert_eq!(
            corrupt.kept,
            dir.path().join(format!("{NAME}.corrupt-{}", number + 1))
        );
        assert_eq!(fs::read_to_string(&corrupt.kept).unwrap(), *text);
        assert_eq!((recovered.leases.len(), corrupt.line), (0, 1), "{text:?}");
        assert_eq!(bytes(dir.path()), b"");
    }
}

#[test]
fn one_changed_byte_keeps_the_file_aside_and_names_what_was_intact() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.record(lease(1, "a.service")).unwrap();
    journal.record(lease(2, "b.service")).unwrap();
    let mut text = bytes(dir.path());
    let second = text.iter().position(|byte| *byte == b'\n').unwrap() + 60;
    text[second] ^= 1;
    fs::write(dir.path().join(NAME), &text).unwrap();
    let recovered = reopen(dir.path());
    assert!(recovered.leases.is_empty());
    let corrupt = recovered.corrupt.unwrap();
    assert_eq!(corrupt.line, 2);
    assert_eq!(corrupt.named, ["a.service MemorySwapMax max -> 0"]);
}

/// Takes and ends leases as `steps` say; returns the file and, for each length that it had, what was live.
fn play(steps: &[(u64, bool)]) -> (Vec<u8>, Vec<(usize, Vec<Lease>)>) {
    let mut file = Vec::new();
    let mut live: BTreeMap<u64, Lease> = BTreeMap::new();
    let mut synced = vec![(0, Vec::new())];
    for (id, ends) in steps {
        if *ends {
            live.remove(id);
            encode(&mut file, &Entry::Ended(LeaseId(*id))).unwrap();
        } else {
            let lease = lease(*id, "a.service");
            encode(&mut file, &Entry::Lease(&lease)).unwrap();
            live.insert(*id, lease);
        }
        synced.push((file.len(), live.values().cloned().collect()));
    }
    (file, synced)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cut at every byte: exactly the leases of the lines before the cut, and never taken for corrupt.
    #[test]
    fn cut_short_anywhere_it_keeps_what_was_synced(steps in prop::collection::vec((1_u64..6, any::<bool>()), 1..6)) {
        let (file, synced) = play(&steps);
        for cut in 0..=file.len() {
            // A line that lacks only its newline is whole.
            let (_, expected) = synced.iter().rev().find(|(len, _)| *len <= cut + 1).unwrap();
            let read = replay(&file[..cut]);
            prop_assert_eq!(read.bad_line, None, "cut at {}", cut);
            prop_assert_eq!(&read.live.into_values().collect::<Vec<_>>(), expected, "cut at {}", cut);
        }
    }

    /// Whatever is in the file, no panic, and no lease that is not, byte for byte, on an intact line.
    #[test]
    fn damage_invents_nothing(
        steps in prop::collection::vec((1_u64..6, any::<bool>()), 1..6),
        at in any::<prop::sample::Index>(),
        damage in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let (mut file, _) = play(&steps);
        let written: Vec<Lease> = steps.iter().map(|(id, _)| lease(*id, "a.service")).collect();
        let at = at.index(file.len());
        let end = (at + damage.len()).min(file.len());
        file.splice(at..end, damage);
        for lease in replay(&file).live.values() {
            prop_assert!(written.contains(lease));
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(replay(&bytes).live.is_empty());
    }
}

/// Nothing can take the place of the lease file: as if there were no room for another one.
fn no_new_file(dir: &Path) {
    fs::create_dir(dir.join("leases.json.new")).unwrap();
}

#[test]
fn without_room_for_a_new_file_leases_end_in_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    no_new_file(dir.path());
    let ids: Vec<LeaseId> = (0..2).map(|_| journal.next_id()).collect();
    for id in &ids {
        journal.record(lease(id.0, "a.service")).unwrap();
    }
    journal.end(ids[0]).unwrap();
    assert_eq!(reopen(dir.path()).leases.len(), 1);
    journal.end(ids[1]).unwrap();
    assert!(bytes(dir.path()).is_empty());
    journal.record(lease(journal.next.0, "b.service")).unwrap();
    assert_eq!(reopen(dir.path()).leases.len(), 1);
}

#[test]
fn without_room_for_a_new_file_the_next_start_finds_the_leases_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let id = journal.next_id();
    journal.record(lease(id.0, "a.service")).unwrap();
    no_new_file(dir.path());
    let whole = bytes(dir.path());
    fs::write(dir.path().join(NAME), [&whole[..], &whole[..20]].concat()).unwrap();
    let (mut journal, recovered) = Journal::open(dir.path()).unwrap();
    assert!(
        recovered.cut_short && recovered.leases.len() == 1,
        "{recovered:?}"
    );
    assert_eq!(
        bytes(dir.path()),
        whole,
        "half a line would make the next one unreadable"
    );
    let next = journal.next_id();
    journal.record(lease(next.0, "b.service")).unwrap();
    journal.end(id).unwrap();
    let left = reopen(dir.path()).leases;
    assert_eq!(left.iter().map(|lease| lease.id).collect::<Vec<_>>(), [next]);
}
