#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

#[test]
fn decode_limits() {
    assert_eq!(limit("max\n").unwrap(), Limit::Max);
    assert_eq!(limit("0\n").unwrap(), Limit::Bytes(0));
    assert_eq!(limit("1073741824").unwrap(), Limit::Bytes(1 << 30));
    assert_eq!(limit("18446744073709551615\n").unwrap(), Limit::Bytes(u64::MAX));
    for bad in ["", "\n", "maximum\n", "-1\n", "1 2\n", "18446744073709551616\n"] {
        let error = limit(bad).unwrap_err();
        assert_eq!(error.found, bad);
    }
}

#[test]
fn limits_order_by_what_they_permit() {
    assert!(Limit::Bytes(0) < Limit::Bytes(1));
    assert!(Limit::Bytes(u64::MAX) < Limit::Max);
    assert_eq!(
        Limit::Bytes(4096 * 3 + 17).page_aligned(4096),
        Limit::Bytes(4096 * 3)
    );
    assert_eq!(Limit::Max.page_aligned(4096), Limit::Max);
}

#[test]
fn limits_in_json_are_numbers_or_max() {
    let text = serde_json::to_string(&[Limit::Max, Limit::Bytes(0)]).unwrap();
    assert_eq!(text, r#"["max",0]"#);
    assert_eq!(
        serde_json::from_str::<Vec<Limit>>(&text).unwrap(),
        [Limit::Max, Limit::Bytes(0)]
    );
    assert!(serde_json::from_str::<Limit>("\"infinity\"").is_err());
    assert!(serde_json::from_str::<Limit>("-1").is_err());
}

#[test]
fn decode_flat_keyed() {
    let text = "anon 4096\nfile 8192\nbroken\nodd x\npswpout 3\n";
    let read: Vec<_> = flat_keyed(text).collect();
    assert_eq!(read, [("anon", 4096), ("file", 8192), ("pswpout", 3)]);
}

proptest! {
    #[test]
    fn a_written_limit_reads_back(bytes in any::<u64>()) {
        prop_assert_eq!(limit(&Limit::Bytes(bytes).to_string()).unwrap(), Limit::Bytes(bytes));
    }

    #[test]
    fn no_text_makes_the_decoders_panic(text in "\\PC{0,200}") {
        let _ = (limit(&text), bytes(&text));
        prop_assert!(flat_keyed(&text).count() <= text.lines().count());
    }
}

#[test]
fn decode_a_level() {
    use crate::source::cgroupfs::CgroupRoot;
    let tree = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| std::fs::write(tree.path().join("u").join(file), text).unwrap();
    std::fs::create_dir(tree.path().join("u")).unwrap();
    for (file, text) in [
        ("memory.max", "1048576\n"),
        ("memory.high", "max\n"),
        ("memory.current", "4096\n"),
        ("memory.swap.max", "0\n"),
        ("memory.swap.current", "8192\n"),
    ] {
        write(file, text);
    }
    let root = CgroupRoot::open(tree.path()).unwrap();
    let read = || level(root.cgroup("/u").unwrap().level().unwrap());
    let expected = Level {
        path: "/u".into(),
        max: Limit::Bytes(1 << 20),
        high: Limit::Max,
        current: 4096,
        swap: Some(SwapLevel {
            max: Limit::Bytes(0),
            current: 8192,
        }),
    };
    assert_eq!(read().unwrap(), expected);
    write("memory.high", "lots\n");
    let error = read().unwrap_err().to_string();
    assert_eq!(
        error,
        "memory.high: a number of bytes or \"max\" expected, found \"lots\\n\""
    );
}
