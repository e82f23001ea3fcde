//! How many bytes may be brought back from swap now.

use std::time::Duration;

use super::headroom::{Headroom, Size};
use crate::decode::{Level, MemInfo, Pressure};

/// Share of the host's memory that stays free.
const HOST_RESERVE: u64 = 10;

/// Bytes that may be brought back into a unit: what its nearest limit leaves above the headroom that `auto` asks for,
/// and what the host has available above a tenth of its memory.
///
/// # Errors
/// If it is nothing: why, in words.
pub fn room(chain: &[Level], below: &[Level], host: &MemInfo) -> Result<u64, String> {
    if chain.is_empty() {
        return Err("the unit has no cgroup any more".to_owned());
    }
    let reserve = host.total / HOST_RESERVE;
    let of_host = host.available.saturating_sub(reserve);
    if of_host == 0 {
        return Err(format!(
            "the host has {} available and keeps {}",
            Size(host.available),
            Size(reserve)
        ));
    }
    let headroom = Headroom::in_levels(chain, below);
    let Some(binding) = headroom.binding else {
        return Ok(of_host);
    };
    let of_limit = binding.left().saturating_sub(headroom.needed);
    if of_limit == 0 {
        return Err(format!(
            "no headroom: {binding}; {} must stay free",
            Size(headroom.needed)
        ));
    }
    Ok(of_limit.min(of_host))
}

/// Share of time with a task of the unit stalled on memory from which nothing more is brought back.
const STALLED: f64 = 0.10;
/// Over less time a share says nothing.
const SHORTEST: Duration = Duration::from_millis(100);

/// Why bringing back has to stop although there is room: the unit's tasks wait for memory. `before` was read when it
/// began, `elapsed` ago.
pub fn pressed(before: &Pressure, now: &Pressure, elapsed: Duration) -> Option<String> {
    let stalled = Duration::from_micros(now.some.total_us.saturating_sub(before.some.total_us));
    let share = stalled.as_secs_f64() / elapsed.as_secs_f64();
    (elapsed >= SHORTEST && share >= STALLED).then(|| {
        format!(
            "tasks of the unit were stalled on memory {:.0} % of the time meanwhile",
            share * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Limit;
    use crate::policy::test_support::{CGROUP, MIB, level, pressure};

    fn host(available: u64) -> MemInfo {
        MemInfo {
            total: 8000 * MIB,
            available,
            swap_total: 1000 * MIB,
            swap_free: 0,
        }
    }

    fn limited(path: &str, current: u64, max: u64) -> Level {
        Level {
            max: Limit::Bytes(max),
            ..level(path, current)
        }
    }

    #[test]
    fn without_limits_the_host_decides() {
        let chain = [level(CGROUP, 100 * MIB)];
        assert_eq!(room(&chain, &[], &host(1000 * MIB)), Ok(200 * MIB));
        let why = room(&chain, &[], &host(800 * MIB)).expect_err("nothing to spare");
        assert!(why.contains("800.0 MiB available"), "{why}");
    }

    #[test]
    fn the_nearest_limit_of_unit_ancestors_and_below_decides() {
        let unit = limited(CGROUP, 1000 * MIB, 2000 * MIB);
        let slice = limited("/ai.slice", 2900 * MIB, 3000 * MIB);
        let inner = limited("/ai.slice/omnimind.service/inner", 100 * MIB, 180 * MIB);
        let host = host(4000 * MIB);
        assert_eq!(
            room(std::slice::from_ref(&unit), &[], &host),
            Ok(936 * MIB),
            "1000 left, 64 stay"
        );
        assert_eq!(room(&[unit.clone(), slice.clone()], &[], &host), Ok(36 * MIB));
        assert_eq!(room(std::slice::from_ref(&unit), &[inner], &host), Ok(16 * MIB));
        let full = limited("/ai.slice", 2950 * MIB, 3000 * MIB);
        let why = room(&[unit, full], &[], &host).expect_err("full");
        assert!(
            why.contains("/ai.slice") && why.contains("64.0 MiB must stay free"),
            "{why}"
        );
        assert!(room(&[], &[], &host).is_err());
    }

    #[test]
    fn a_tenth_of_the_time_stalled_is_too_much() {
        let second = Duration::from_secs(1);
        assert_eq!(pressed(&pressure(5), &pressure(99_000), second), None);
        assert!(pressed(&pressure(0), &pressure(100_000), second).is_some());
        assert_eq!(
            pressed(&pressure(0), &pressure(50_000), Duration::from_millis(50)),
            None
        );
    }
}
