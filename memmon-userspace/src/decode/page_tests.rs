//! Bytes of the page-level ring to events.

use memmon_common::{
    event::{COMM_LEN, reclaim_kind},
    pod::bytes_of,
};
use proptest::prelude::*;

use super::*;
use crate::decode::ReclaimKind;

fn name(text: &str) -> [u8; COMM_LEN] {
    let mut name = [0; COMM_LEN];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

fn raw() -> PageRecord {
    PageRecord {
        header: EventHeader {
            kind: event_kind::PAGE,
            size: 120,
            ts_ns: 5,
        },
        owner: 1765,
        reclaimer: 99,
        suppressed_pages: 7,
        folio: 0xffff_ea00_0000_1000,
        address: 0x7f12_c0a3_1000,
        start_ns: 1_234_567,
        reclaim_kind: reclaim_kind::LIMIT,
        tgid: 412,
        label: 3,
        flags: page_flag::EXACT,
        pages: 1,
        reclaimer_tgid: 45,
        comm: name("python3"),
        reclaimer_comm: name("kswapd0"),
    }
}

#[test]
fn a_page_keeps_every_field() {
    let expected = PageOut {
        ts_ns: 5,
        owner: 1765,
        reclaimer: Reclaimer {
            kind: ReclaimKind::Limit,
            cgroup_id: Some(99),
            pid: 45,
            comm: "kswapd0".to_owned(),
        },
        process: ProcessId {
            tgid: 412,
            start_ns: 1_234_567,
        },
        comm: "python3".to_owned(),
        address: 0x7f12_c0a3_1000,
        pages: 1,
        label: Some(3),
        exact: true,
        suppressed_pages: 7,
        folio: 0xffff_ea00_0000_1000,
    };
    assert_eq!(decode_page(bytes_of(&raw())), Ok(PageEvent::Page(expected)));
}

#[test]
fn no_label_and_no_certainty_are_told_apart_from_some() {
    let record = PageRecord {
        label: 0,
        flags: 0,
        reclaimer: 0,
        ..raw()
    };
    let Ok(PageEvent::Page(page)) = decode_page(bytes_of(&record)) else {
        panic!("a page record");
    };
    assert_eq!(
        (page.label, page.exact, page.reclaimer.cgroup_id),
        (None, false, None)
    );
}

#[test]
fn tags_gone_names_the_process() {
    let record = TagsGone {
        header: EventHeader {
            kind: event_kind::TAGS_GONE,
            size: 24,
            ts_ns: 1,
        },
        tgid: 8,
        generation: 9,
    };
    assert_eq!(
        decode_page(bytes_of(&record)),
        Ok(PageEvent::TagsGone {
            tgid: 8,
            generation: 9
        })
    );
}

#[test]
fn a_record_of_the_other_rings_is_refused() {
    let mut record = raw();
    record.header.kind = event_kind::SWAP_OUT;
    assert!(decode_page(bytes_of(&record)).is_err());
    let mut record = raw();
    record.reclaim_kind = 77;
    assert!(decode_page(bytes_of(&record)).is_err());
}

proptest! {
    #[test]
    fn short_or_random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        let _ = decode_page(&bytes);
    }

    #[test]
    fn a_cut_record_is_an_error(length in 0usize..120) {
        prop_assert!(decode_page(&bytes_of(&raw())[..length]).is_err());
    }
}
