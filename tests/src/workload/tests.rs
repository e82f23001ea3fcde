#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use clap::ValueEnum as _;

use super::{control::obey, mapping::Mapping, *};

#[test]
fn ranges_survive_being_written() {
    let range = Range {
        start: 0x7f12_c0a3_1000,
        length: 0x10_0000,
    };
    assert_eq!(range.to_string().parse::<Range>().unwrap(), range);
    assert!("7f12".parse::<Range>().is_err());
    assert!("7f12+xyz".parse::<Range>().is_err());
}

#[test]
fn names_are_those_of_the_command_line() {
    for kind in Kind::value_variants() {
        assert_eq!(Kind::from_str(&kind.to_string(), false).as_ref(), Ok(kind));
    }
    for fill in Fill::value_variants() {
        assert_eq!(Fill::from_str(&fill.to_string(), false).as_ref(), Ok(fill));
    }
}

#[test]
fn every_kind_of_memory_keeps_its_content() {
    for kind in Kind::value_variants() {
        for fill in Fill::value_variants() {
            let mapping = Mapping::new(2, *kind, *fill).unwrap();
            assert_eq!(mapping.verify(), Ok(512), "{kind} {fill}");
            mapping.pageout().unwrap();
            assert_eq!(mapping.verify(), Ok(512), "{kind} {fill} after a pageout");
        }
    }
}

#[test]
fn a_changed_byte_is_found() {
    let mut mapping = Mapping::new(1, Kind::Anon, Fill::Random).unwrap();
    mapping.bytes_mut()[4096 * 7 + 3] ^= 1;
    assert_eq!(mapping.verify(), Err(7));
    mapping.write();
    assert_eq!(mapping.verify(), Ok(256));
}

#[test]
fn commands_are_answered() {
    let mut mapping = Mapping::new(1, Kind::Anon, Fill::Random).unwrap();
    let before: Range = obey(&mut mapping, "range").unwrap().parse().unwrap();
    assert_eq!(before.length, 1 << 20);
    assert_eq!(obey(&mut mapping, "touch").unwrap(), "256");
    let after: Range = obey(&mut mapping, "move").unwrap().parse().unwrap();
    assert_ne!(after.start, before.start);
    assert_eq!(obey(&mut mapping, "verify").unwrap(), "256");
    assert!(obey(&mut mapping, "dance").is_err());
}
