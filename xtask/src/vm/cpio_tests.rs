#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;

use super::*;

/// One entry, read as the format's description says.
struct Entry<'a> {
    name: &'a str,
    mode: u32,
    content: &'a [u8],
}

/// Splits an archive into its entries, checking magic numbers and alignment on the way.
fn entries(archive: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < archive.len() {
        assert_eq!(at % 4, 0, "a header is aligned");
        assert_eq!(&archive[at..at + 6], b"070701");
        let text = |range: Range<usize>| std::str::from_utf8(&archive[range]).unwrap();
        let field = |number: usize| {
            let start = at + 6 + 8 * number;
            usize::from_str_radix(text(start..start + 8), 16).unwrap()
        };
        let (mode, size, name_size) = (field(1), field(6), field(11));
        let name = at + 110..at + 110 + name_size;
        assert_eq!(archive[name.end - 1], 0, "a name ends with a zero byte");
        let start = name.end.next_multiple_of(4);
        entries.push(Entry {
            name: text(name.start..name.end - 1),
            mode: u32::try_from(mode).unwrap(),
            content: &archive[start..start + size],
        });
        at = (start + size).next_multiple_of(4);
    }
    entries
}

#[test]
fn what_went_in_is_in_there() {
    let mut archive = Archive::default();
    archive.directory("bin");
    archive.file("bin/odd", 0o755, b"12345");
    archive.file("empty", 0o644, b"");
    let bytes = archive.finish();
    let found = entries(&bytes);
    let names: Vec<_> = found.iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["bin", "bin/odd", "empty", "TRAILER!!!"]);
    assert_eq!(found[0].mode, 0o040_755);
    assert_eq!((found[1].mode, found[1].content), (0o100_755, &b"12345"[..]));
    assert_eq!((found[2].mode, found[2].content), (0o100_644, &b""[..]));
}
