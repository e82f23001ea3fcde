use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::policy::SwapUse;

fn thresholds() -> Thresholds {
    Config::default().thresholds
}

fn host(percent: u64, swap: SwapUse) -> HostSnapshot {
    HostSnapshot {
        host: MemInfo {
            total: 1000,
            available: 1000 - percent * 10,
            ..MemInfo::default()
        },
        swap,
        ..HostSnapshot::default()
    }
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(1_000_000_000).after(Duration::from_secs(seconds))
}

#[test]
fn it_worsens_at_once_and_eases_after_the_dwell() {
    let mut state = SituationState::default();
    let steps = [
        (0, 79, Situation::Normal),
        (1, 80, Situation::High),
        (2, 91, Situation::Critical),
        // Below by the hysteresis, but not yet for the dwell.
        (3, 60, Situation::Critical),
        (31, 60, Situation::Critical),
        (32, 60, Situation::Normal),
        // Worse again at once: the dwell only keeps what is bad.
        (33, 95, Situation::Critical),
        (63, 86, Situation::Critical),
        (64, 84, Situation::High),
        // The dwell counts from each change.
        (65, 60, Situation::High),
        (94, 60, Situation::Normal),
    ];
    for (second, percent, want) in steps {
        state = state.next(&host(percent, SwapUse::default()), &thresholds(), at(second));
        assert_eq!(state.ram, want, "at {second} s with {percent} %");
    }
}

#[test]
fn only_the_dwell_makes_somebody_look_again() {
    let state = SituationState::default().next(&host(95, SwapUse::default()), &thresholds(), at(0));
    assert_eq!(state.look_again(&thresholds(), at(1)), Some(at(30)));
    assert_eq!(state.look_again(&thresholds(), at(30)), None);
    assert_eq!(SituationState::default().look_again(&thresholds(), at(1)), None);
}

#[test]
fn a_clock_that_went_back_ends_nothing() {
    let state = SituationState::default().next(&host(95, SwapUse::default()), &thresholds(), at(1000));
    let state = state.next(&host(10, SwapUse::default()), &thresholds(), at(5));
    assert_eq!(state.ram, Situation::Critical);
}

#[test]
fn swap_on_disk_and_in_ram_have_thresholds_of_their_own() {
    let high = |swap| {
        SituationState::default()
            .next(&host(10, swap), &thresholds(), at(0))
            .swap_high
    };
    let disk = |used| SwapUse {
        disk_total: 1000,
        disk_reserved: used,
        ..SwapUse::default()
    };
    let zram = |used| SwapUse {
        zram_total: 1000,
        zram_used: used,
        ..SwapUse::default()
    };
    let zswap = |reserved, stored| SwapUse {
        zswap_stored: Some(stored),
        ..disk(reserved)
    };
    assert!(!high(SwapUse::default()), "without swap");
    assert_eq!([499, 500].map(|used| high(disk(used))), [false, true], "disk");
    assert_eq!(
        [500, 799, 800].map(|used| high(zram(used))),
        [false, false, true],
        "zram"
    );
    // 700 places are taken and 300 of the pages are in the pool: 400 are on the disk.
    assert_eq!(
        [300, 200].map(|stored| high(zswap(700, stored))),
        [false, true],
        "zswap"
    );
    // Everything in the pool, and no place left for the next page.
    assert!(high(zswap(850, 850)), "a full disk behind zswap");
    // One of each: the zram does not make up for the disk.
    let both = SwapUse {
        disk_total: 100,
        disk_reserved: 60,
        ..zram(10)
    };
    assert!(high(both), "a full disk beside an empty zram");
}

#[test]
fn swap_eases_below_the_hysteresis_and_after_the_dwell() {
    let disk = |used| {
        host(
            10,
            SwapUse {
                disk_total: 1000,
                disk_reserved: used,
                ..SwapUse::default()
            },
        )
    };
    let mut state = SituationState::default();
    for (second, used, want) in [
        (0, 500, true),
        (40, 460, true),
        (41, 440, false),
        (42, 499, false),
    ] {
        state = state.next(&disk(used), &thresholds(), at(second));
        assert_eq!(state.swap_high, want, "{used} at {second} s");
    }
}
