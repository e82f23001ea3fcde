#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

#[test]
fn differences_are_of_the_same_counter() {
    let before = Vmstat::parse("pswpout 5\nnr_vmscan_write 7\n").unwrap();
    let after = Vmstat::parse("pswpout 9\nnr_vmscan_write 7\n").unwrap();
    assert_eq!(after.since(&before, "pswpout").unwrap(), 4);
    assert_eq!(after.since(&before, "nr_vmscan_write").unwrap(), 0);
    assert!(before.since(&after, "pswpout").is_err(), "a counter never falls");
    assert!(
        after.since(&before, "zswpout").is_err(),
        "an absent counter is not 0"
    );
    assert_eq!(after.get("zswpout"), None);
}

#[test]
fn a_malformed_line_is_an_error() {
    assert!(Vmstat::parse("pswpout\n").is_err());
    assert!(Vmstat::parse("pswpout many\n").is_err());
}
