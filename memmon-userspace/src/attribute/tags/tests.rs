//! The registry against a set of pages, and its limits one by one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn process(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        started: 7,
        image: Image::default(),
    }
}

fn small() -> Tags {
    Tags::new(Limits {
        tags_per_process: 6,
        ranges_per_process: 4,
        ranges_per_user: 6,
        labels_per_process: 3,
        labels_per_user: 4,
        processes_per_user: 3,
        host: Total {
            ranges: 9,
            labels: 7,
            processes: 4,
        },
        people: Total {
            ranges: 8,
            labels: 6,
            processes: 4,
        },
    })
}

/// What the pages of the process are called, page by page.
fn by_page(tags: &Tags, pid: u32) -> BTreeMap<u64, String> {
    let regions = tags.get(pid).map_or(&[][..], |known| &known.regions[..]);
    let page = |region: &Region, n| (region.start / PAGE + n, region.label.name.to_string());
    regions
        .iter()
        .flat_map(|region| (0..region.pages()).map(move |n| page(region, n)))
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Tag { start: u64, length: u64, label: u8 },
    Untag(prop::sample::Index),
    Exec,
}

fn step() -> impl Strategy<Value = Step> {
    let tag = (0..40 * PAGE, 1..6 * PAGE, 0..3_u8).prop_map(|(start, length, label)| Step::Tag {
        start,
        length,
        label,
    });
    prop_oneof![6 => tag, 3 => any::<prop::sample::Index>().prop_map(Step::Untag), 1 => Just(Step::Exec)]
}

proptest! {
    #[test]
    fn it_is_the_set_of_pages_of_the_tags(steps in prop::collection::vec(step(), 1..60)) {
        let mut tags = Tags::new(Limits::default());
        let mut key = process(1);
        // The naive model: every tag with its pages, the oldest first.
        let mut model: Vec<(u64, Vec<u64>, String)> = Vec::new();
        for step in steps {
            match step {
                Step::Tag { start, length, label } => {
                    let label = format!("label {label}");
                    let id = tags.tag(&key, 1000, start, length, &label).unwrap();
                    prop_assert!(model.iter().all(|(known, ..)| *known < id), "ids grow");
                    let pages = (start / PAGE..=(start + length - 1) / PAGE).collect();
                    model.push((id, pages, label));
                }
                Step::Untag(which) if !model.is_empty() => {
                    let (id, ..) = model.remove(which.index(model.len()));
                    tags.untag(&key, id).unwrap();
                    prop_assert!(tags.untag(&key, id).is_err(), "only once");
                }
                Step::Untag(_) => {}
                Step::Exec => {
                    key.image.stack += 1;
                    model.clear();
                    tags.tag(&key, 1000, 0, 1, "new").unwrap();
                    let id = tags.next_id - 1;
                    model.push((id, vec![0], "new".to_owned()));
                }
            }
            let mut expected: BTreeMap<u64, String> = BTreeMap::new();
            for (_, pages, label) in &model {
                for &page in pages {
                    expected.entry(page).or_insert_with(|| label.clone());
                }
            }
            prop_assert_eq!(&by_page(&tags, 1), &expected);
            let regions = tags.get(1).map_or(&[][..], |known| &known.regions[..]);
            for pair in regions.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start, "sorted, disjoint");
                let one = pair[0].end == pair[1].start && pair[0].label == pair[1].label;
                prop_assert!(!one, "neighbours of one label are one range");
            }
            prop_assert_eq!(tags.ranges(), regions.len(), "small ones take one entry each");
            for page in 0..50 {
                let at = tags.get(1).and_then(|known| known.at(page * PAGE + 17));
                prop_assert_eq!(at.map(|region| region.label.name.to_string()), expected.get(&page).cloned());
            }
        }
        tags.forget(1);
        prop_assert_eq!(tags.ranges(), 0);
    }
}

#[test]
fn a_small_buffer_gets_its_whole_pages() {
    let mut tags = small();
    tags.tag(&process(1), 0, 0x1ff0, 0x20, "embedding").unwrap();
    let known = tags.get(1).unwrap();
    assert_eq!((known.regions[0].start, known.regions[0].end), (0x1000, 0x3000));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_value() {
    let mut tags = small();
    let mut refused = |start, length, label: &str| {
        tags.tag(&process(1), 1000, start, length, label)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(0x1000, 0, "a").contains("0x1000 has length 0"));
    assert!(refused(u64::MAX, 2, "a").contains("2 bytes from 0xffffffffffffffff"));
    assert!(refused(USER_END - 1, 2, "a").contains("reach beyond"));
    assert!(refused(0x1000, 1, "").contains("is empty"));
    assert!(refused(0x1000, 1, &"x".repeat(65)).contains("has 65 bytes"));
    assert!(refused(0x1000, 1, "two\nlines").contains("'\\n'"));
    assert_eq!((tags.ranges(), tags.processes().count()), (0, 0));
}

#[test]
fn every_limit_holds_and_a_refusal_changes_nothing() {
    let mut tags = small();
    let at = |n: u64| n * 2 * PAGE;
    for n in 0..4 {
        tags.tag(&process(1), 1000, at(n), 1, "a").unwrap();
    }
    let before = by_page(&tags, 1);
    assert_eq!(
        tags.tag(&process(1), 1000, at(4), 1, "a"),
        Err(TagError::Ranges { ranges: 5, limit: 4 })
    );
    assert_eq!(by_page(&tags, 1), before);
    // Growth of what is there needs no further range.
    tags.tag(&process(1), 1000, at(0), 2 * PAGE, "a").unwrap();
    tags.tag(&process(1), 1000, at(1), 1, "a").unwrap();
    assert_eq!(
        tags.tag(&process(1), 1000, at(1), 1, "a"),
        Err(TagError::Tags { limit: 6 })
    );
    // The user's ranges: 3 in the first process by now.
    assert_eq!(tags.ranges(), 3);
    for n in 0..3 {
        tags.tag(&process(2), 1000, at(n), 1, "a").unwrap();
    }
    let full = TagError::RangesOfUser { uid: 1000, limit: 6 };
    assert_eq!(tags.tag(&process(2), 1000, at(3), 1, "a"), Err(full.clone()));
    assert!(full.is_limit());
    // Another user is not affected, until the host is full; root then neither.
    for n in 0..3 {
        tags.tag(&process(3), 0, at(n), 1, "a").unwrap();
    }
    assert_eq!(
        tags.tag(&process(3), 0, at(3), 1, "a"),
        Err(TagError::AllRanges { limit: 9 })
    );
    tags.forget(2);
    tags.tag(&process(3), 0, at(3), 1, "a").unwrap();
}

#[test]
fn a_huge_region_counts_as_the_entries_that_it_takes() {
    let mut tags = small();
    let tib = 1 << 40;
    let refused = tags.tag(&process(1), 1000, 0, 16 * tib + 1, "a");
    let too_long = TagError::TooLong {
        length: 16 * tib + 1,
        limit: 16 * tib,
    };
    assert_eq!(refused, Err(too_long.clone()));
    assert!(!too_long.is_limit(), "asking again does not help");
    // 2^32 pages are one more than fit one entry; neighbours of one label are one region.
    tags.tag(&process(1), 1000, 0, 16 * tib, "a").unwrap();
    assert_eq!((tags.get(1).unwrap().regions.len(), tags.ranges()), (1, 2));
    let id = tags.tag(&process(1), 1000, 16 * tib, 16 * tib, "a").unwrap();
    assert_eq!((tags.get(1).unwrap().regions.len(), tags.ranges()), (1, 3));
    tags.tag(&process(1), 1000, 32 * tib, 16 * tib, "a").unwrap();
    assert_eq!(tags.ranges(), 4);
    assert_eq!(
        tags.tag(&process(1), 1000, 48 * tib, 16 * tib, "a"),
        Err(TagError::Ranges { ranges: 5, limit: 4 })
    );
    tags.untag(&process(1), id).unwrap();
    assert_eq!((tags.get(1).unwrap().regions.len(), tags.ranges()), (2, 4));
    tags.forget(1);
    assert_eq!(tags.ranges(), 0);
}

#[test]
fn people_leave_room_for_services() {
    let mut tags = small();
    let at = |n: u64| n * 2 * PAGE;
    for (pid, uid, ranges) in [(1, 1000, 4), (2, 1001, 4)] {
        for n in 0..ranges {
            tags.tag(&process(pid), uid, at(n), 1, "a").unwrap();
        }
    }
    let full = tags.tag(&process(3), 1002, 0, 1, "a").unwrap_err();
    assert_eq!(
        full,
        TagError::OfPeople {
            limit: 8,
            what: "ranges"
        }
    );
    assert!(full.is_limit());
    tags.tag(&process(4), 999, 0, 1, "a").unwrap();
    for uid in [0, 1, 999, 61_184, 65_519] {
        assert!(!is_person(uid), "{uid}");
    }
    for uid in [1000, 61_183, 65_520, 100_000] {
        assert!(is_person(uid), "{uid}");
    }
}

#[test]
fn a_process_that_changed_its_user_is_counted_where_it_was() {
    let mut tags = small();
    tags.tag(&process(1), 1000, 0, 1, "a").unwrap();
    tags.tag(&process(1), 1000, 4 * PAGE, 1, "a").unwrap();
    // It is another user's now, who has nothing.
    tags.tag(&process(1), 1001, 8 * PAGE, 1, "b").unwrap();
    let known = tags.get(1).unwrap();
    assert_eq!((known.uid, known.ranges(), tags.ranges()), (1000, 3, 3));
}

#[test]
fn processes_are_limited_as_well() {
    let mut tags = small();
    for pid in 1..=3 {
        tags.tag(&process(pid), 1000, 0, 1, "a").unwrap();
    }
    assert_eq!(
        tags.tag(&process(4), 1000, 0, 1, "a"),
        Err(TagError::ProcessesOfUser { uid: 1000, limit: 3 })
    );
    tags.tag(&process(4), 1001, 0, 1, "a").unwrap();
    assert_eq!(
        tags.tag(&process(5), 0, 0, 1, "a"),
        Err(TagError::Processes { limit: 4 })
    );
}

#[test]
fn a_reused_pid_and_an_exec_inherit_nothing() {
    let mut tags = small();
    let id = tags.tag(&process(1), 1000, 0, 1, "a").unwrap();
    let reused = ProcessKey {
        started: 8,
        ..process(1)
    };
    assert_eq!(
        tags.untag(&reused, id),
        Err(TagError::Unknown { id, tags: 0 }),
        "not its tag"
    );
    tags.tag(&reused, 1000, PAGE, 1, "b").unwrap();
    assert_eq!(by_page(&tags, 1), BTreeMap::from([(1, "b".to_owned())]));
    assert!(tags.untag(&process(1), id).is_err());
}

#[test]
fn labels_have_numbers_of_their_own_and_limits() {
    let mut tags = small();
    let number = |tags: &Tags, pid, page: u64| tags.get(pid).unwrap().at(page * PAGE).unwrap().label.number;
    tags.tag(&process(1), 1000, 0, 1, "a").unwrap();
    tags.tag(&process(1), 1000, 2 * PAGE, 1, "a").unwrap();
    tags.tag(&process(2), 1000, 0, 1, "a").unwrap();
    assert_eq!(number(&tags, 1, 0), number(&tags, 1, 2), "one label, one number");
    assert_ne!(
        number(&tags, 1, 0),
        number(&tags, 2, 0),
        "another process's label"
    );
    let b = tags.tag(&process(1), 1000, 0, 1, "b").unwrap();
    tags.tag(&process(1), 1000, 0, 1, "c").unwrap();
    assert_eq!(
        tags.tag(&process(1), 1000, 0, 1, "d"),
        Err(TagError::Labels { limit: 3 })
    );
    assert_eq!(
        tags.tag(&process(2), 1000, 0, 1, "b"),
        Err(TagError::LabelsOfUser { uid: 1000, limit: 4 })
    );
    tags.untag(&process(1), b).unwrap();
    tags.tag(&process(2), 1000, 0, 1, "b").unwrap();
    assert_eq!(tags.get(1).unwrap().labels().count(), 2);
}
