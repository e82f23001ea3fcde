//! Every situation with one unit of each priority.

use insta::assert_snapshot;

use super::build::{after_grace, fresh, lines, swap_out, usual, zram};
use crate::policy::HostSnapshot;

const CRITICAL: &str = "/system.slice/omnimind.service";

/// The usual company, 1.5 of 2 GiB of swap in use, a part of it by the critical unit.
fn swap_high(percent: u64) -> HostSnapshot {
    let mut host = usual(percent);
    host.swap.disk_reserved = host.swap.disk_total / 4 * 3;
    swap_out(&mut host, CRITICAL, 400);
    host
}

#[test]
fn normal() {
    assert_snapshot!(lines(&fresh(&usual(60))));
}

#[test]
fn high() {
    assert_snapshot!(lines(&fresh(&usual(85))));
}

#[test]
fn critical_asks_first() {
    assert_snapshot!(lines(&fresh(&usual(95))));
}

#[test]
fn critical_takes_after_the_grace() {
    assert_snapshot!(lines(&after_grace(&usual(95))));
}

#[test]
fn critical_with_zram() {
    let mut host = usual(95);
    host.swap = zram(100);
    assert_snapshot!(lines(&after_grace(&host)));
}

#[test]
fn normal_with_swap_high() {
    assert_snapshot!(lines(&fresh(&swap_high(50))));
}

#[test]
fn high_with_swap_high() {
    assert_snapshot!(lines(&fresh(&swap_high(82))));
}

#[test]
fn critical_with_swap_high() {
    assert_snapshot!(lines(&after_grace(&swap_high(95))));
}
