use proptest::prelude::*;

use super::*;

const MEMINFO: &str = "MemTotal:        4021240 kB\nMemFree:          100000 kB\nMemAvailable:    1005310 kB\n\
    SwapCached:            0 kB\nSwapTotal:       1048572 kB\nSwapFree:         524286 kB\n";

#[test]
fn meminfo_is_in_bytes() {
    let info = MemInfo::parse(MEMINFO).expect("complete");
    assert_eq!(info.total, 4_021_240 * 1024);
    assert_eq!(
        (info.swap_total, info.swap_free),
        (1_048_572 * 1024, 524_286 * 1024)
    );
    assert!((info.ram_used() - 0.75).abs() < 1e-9);
    assert_eq!(info.swap_used(), Some(0.5));
}

#[test]
fn a_host_without_swap_has_no_share_of_it() {
    let text = MEMINFO.replace("1048572", "0").replace("524286", "0");
    assert_eq!(MemInfo::parse(&text).expect("complete").swap_used(), None);
}

#[test]
fn a_missing_field_of_meminfo_is_named() {
    for field in ["MemTotal", "MemAvailable", "SwapTotal", "SwapFree"] {
        let text = MEMINFO.replace(&format!("{field}:"), "Other:");
        assert_eq!(MemInfo::parse(&text).expect_err("incomplete").field, field);
    }
    assert!(MemInfo::parse(&MEMINFO.replace("4021240 kB", "99999999999999999999 kB")).is_err());
    assert!(MemInfo::parse(&MEMINFO.replace("4021240 kB", "4021240 MB")).is_err());
}

#[test]
fn absent_counters_of_vmstat_are_none_and_not_zero() {
    let stat = VmStat::parse("nr_free_pages 5\nnr_vmscan_write 12\npswpin 0\npswpout 7\nzswpout 3\n");
    assert_eq!(stat.nr_vmscan_write, Some(12));
    assert_eq!((stat.pswpin, stat.pswpout), (Some(0), Some(7)));
    assert_eq!(
        (stat.zswpout, stat.zswpwb, stat.swpout_zero),
        (Some(3), None, None)
    );
    let later = VmStat::parse("nr_vmscan_write 20\npswpin 1\npswpout 7\nswpout_zero 9\n").since(&stat);
    assert_eq!(
        (later.nr_vmscan_write, later.pswpin, later.pswpout),
        (Some(8), Some(1), Some(0))
    );
    assert_eq!(
        (later.zswpout, later.swpout_zero),
        (None, None),
        "a difference needs both"
    );
}

#[test]
fn pressure_has_two_lines_of_four_numbers() {
    let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=123456\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=99\n";
    let pressure = Pressure::parse(text).expect("complete");
    assert_eq!(
        pressure.some,
        PressureLine {
            avg10: 1.5,
            avg60: 0.25,
            avg300: 0.0,
            total_us: 123_456
        }
    );
    assert_eq!(pressure.full.total_us, 99);
    assert!(Pressure::parse(text.lines().next().expect("a line")).is_err());
    assert!(Pressure::parse(&text.replace("0.25", "inf")).is_err());
}

#[test]
fn the_running_kernel_is_understood() {
    let read = |path: &str| std::fs::read_to_string(path).expect(path);
    let info = MemInfo::parse(&read("/proc/meminfo")).expect("this is Linux");
    assert!(info.available > 0 && info.available < info.total);
    assert!(VmStat::parse(&read("/proc/vmstat")).nr_vmscan_write.is_some());
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "((some|full|MemTotal:|pswpin)? ?(avg10=|total=)?[0-9.a-z]{0,24}( kB)?\n?){0,12}") {
        let _ = MemInfo::parse(&text);
        let _ = Pressure::parse(&text);
        let stat = VmStat::parse(&text);
        prop_assert_eq!(stat.since(&stat).pswpin, stat.pswpin.map(|_| 0));
    }
}
