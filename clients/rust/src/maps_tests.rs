use super::*;

const MAPS: &str = "1000-3000 rw-p 00000000 00:00 0 \n\
    3000-5000 rw-s 00000000 00:01 7  /dev/zero (deleted)\n\
    5000-6000 rw-s 00000000 00:19 8  /dev/shm/a b\n\
    6000-7000 r--s 00000000 08:01 9  /var/lib/weights\n\
    7000-8000 rw-p 00000000 00:01 7  /memfd:x (deleted)\n\
    8000-9000 rw-s 00000000 00:01 7  /SYSV00000000 (deleted)\n\
    9000-a000 rw-s 00000000 00:01 7  /memfd:y (deleted)\n";

fn found(ranges: &[(usize, usize)]) -> (usize, Vec<String>) {
    let ranges: Vec<PageRange> = ranges
        .iter()
        .map(|(start, end)| PageRange {
            start: *start,
            end: *end,
        })
        .collect();
    let (bytes, names) = shared_in(MAPS, &ranges);
    (bytes, names.into_iter().collect())
}

#[test]
fn finds_shared_memory_among_the_mappings() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found(&[(0x2000, 0x4000), (0x5000, 0x8000)]),
        (0x2000, names(&["/dev/shm/a b", "/dev/zero"]))
    );
    assert_eq!(
        found(&[(0x7000, 0xa000)]),
        (0x2000, names(&["/SYSV00000000", "/memfd:y"]))
    );
    assert_eq!(found(&[(0x1000, 0x3000)]), (0, Vec::new()));
}
