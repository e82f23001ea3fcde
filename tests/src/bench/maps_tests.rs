use super::{Map, PERCPU_HASH, RINGBUF};

const FDINFO: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t71\nmap_type:\t5\nkey_size:\t24\nvalue_size:\t8\n\
                      max_entries:\t16384\nmap_flags:\t0x0\nmap_extra:\t0x0\nmemlock:\t1859328\nmap_id:\t37\nfrozen:\t0\n";

#[test]
fn fdinfo_of_a_map_is_read_and_others_are_not() {
    let map = Map {
        kind: PERCPU_HASH,
        key: 24,
        value: 8,
        entries: 16384,
        memory: 1_859_328,
    };
    assert_eq!(Map::parse(FDINFO), Some((37, map)));
    assert_eq!(Map::parse("pos:\t0\nflags:\t0100002\nmnt_id:\t15\n"), None);
}

#[test]
fn only_what_is_per_cpu_grows_with_the_cpus() {
    let mut map = Map {
        kind: PERCPU_HASH,
        key: 24,
        value: 8,
        entries: 1000,
        memory: 1,
    };
    assert_eq!(map.computed(2), 1024 * 16 + 1000 * (48 + 24 + 8 + 16));
    assert_eq!(map.computed(128) - map.computed(2), 1000 * 8 * 126);
    map.kind = RINGBUF;
    assert_eq!(map.computed(128), 1);
}
