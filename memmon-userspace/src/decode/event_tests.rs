//! Bytes of the ring buffers to events.

use memmon_common::event::{CGROUP_PATH_MAX, COMM_LEN};
use memmon_common::pod::bytes_of;
use proptest::prelude::*;

use super::*;

fn raw_swap_out() -> SwapOutEvent {
    let mut comm = [0; COMM_LEN];
    comm[..7].copy_from_slice(b"kswapd0");
    SwapOutEvent {
        header: EventHeader {
            kind: event_kind::SWAP_OUT,
            size: 80,
            ts_ns: 5,
        },
        owner: 1765,
        reclaimer: 0,
        suppressed_pages: 7,
        folio: 0xffff_ea00_0000_1000,
        reclaim_kind: reclaim_kind::KSWAPD,
        pages: 512,
        tgid: 45,
        tid: 46,
        comm,
    }
}

fn raw_cgroup(path: &[u8], flags: u32) -> CgroupEvent {
    let mut bytes = [0xaa; CGROUP_PATH_MAX];
    bytes[..path.len()].copy_from_slice(path);
    CgroupEvent {
        header: EventHeader {
            kind: event_kind::CGROUP_MKDIR,
            size: 552,
            ts_ns: 9,
        },
        id: 77,
        parent: 1,
        flags,
        path_len: u32::try_from(path.len()).expect("short"),
        path: bytes,
    }
}

#[test]
fn a_swap_out_keeps_every_field() {
    let expected = SwapOut {
        ts_ns: 5,
        owner: 1765,
        reclaimer: Reclaimer {
            kind: ReclaimKind::Kswapd,
            cgroup_id: None,
            pid: 45,
            comm: "kswapd0".to_owned(),
        },
        pages: 512,
        suppressed_pages: 7,
        folio: 0xffff_ea00_0000_1000,
    };
    assert_eq!(decode(bytes_of(&raw_swap_out())), Ok(Event::SwapOut(expected)));
}

#[test]
fn a_path_ends_where_it_says_and_a_cut_one_is_none() {
    let expected = CgroupLife {
        ts_ns: 9,
        change: CgroupChange::Mkdir,
        id: 77,
        parent: Some(1),
        path: Some("/system.slice/a.service".to_owned()),
        inherited_critical: true,
    };
    let raw = raw_cgroup(b"/system.slice/a.service", cgroup_flag::INHERITED_CRITICAL);
    assert_eq!(decode(bytes_of(&raw)), Ok(Event::Cgroup(expected.clone())));
    let raw = raw_cgroup(b"/system.slice/a.service", cgroup_flag::PATH_CUT);
    let cut = CgroupLife {
        path: None,
        inherited_critical: false,
        ..expected
    };
    assert_eq!(decode(bytes_of(&raw)), Ok(Event::Cgroup(cut)));
}

#[test]
fn unknown_numbers_are_errors_that_name_them() {
    let mut raw = raw_swap_out();
    raw.reclaim_kind = 99;
    assert_eq!(
        decode(bytes_of(&raw)),
        Err(DecodeError::Unknown {
            what: "reclaim kind",
            value: 99
        })
    );
    raw.header.kind = 1000;
    assert_eq!(
        decode(bytes_of(&raw)),
        Err(DecodeError::Unknown {
            what: "record kind",
            value: 1000
        })
    );
    let mut raw = raw_cgroup(b"/", 0);
    raw.path_len = 513;
    assert_eq!(
        decode(bytes_of(&raw)),
        Err(DecodeError::Unknown {
            what: "cgroup path length",
            value: 513
        })
    );
}

#[test]
fn every_kind_has_the_name_of_the_contract() {
    let names: Vec<&str> = (1..=7)
        .map(|kind| {
            ReclaimKind::try_from(kind)
                .expect("a kind of the contract")
                .as_str()
        })
        .collect();
    assert_eq!(
        names,
        [
            "kswapd",
            "direct",
            "limit",
            "proactive",
            "madvise",
            "memcg",
            "other"
        ]
    );
    assert!(ReclaimKind::try_from(0).is_err() && ReclaimKind::try_from(8).is_err());
    assert!(StallKind::try_from(0).is_err() && StallKind::try_from(4).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn a_record_cut_short_is_an_error(length in 0_usize..72) {
        prop_assert!(decode(&bytes_of(&raw_swap_out())[..length]).is_err());
    }
}
