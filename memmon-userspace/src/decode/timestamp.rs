//! Kernel timestamps as wall-clock time.

use std::time::{Duration, UNIX_EPOCH};

/// Last moment that RFC 3339 can write: the end of the year 9999.
const LATEST_NS: i128 = 253_402_300_800_000_000_000 - 1;

/// A `CLOCK_MONOTONIC` time as RFC 3339 in UTC with microseconds: `2026-01-02T03:04:05.678901Z`.
///
/// `offset_ns` is `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`. Times before 1970 or after 9999 become the nearest
/// that can be written.
pub fn rfc3339(monotonic_ns: u64, offset_ns: i128) -> String {
    let wall = (i128::from(monotonic_ns) + offset_ns).clamp(0, LATEST_NS);
    let seconds = u64::try_from(wall / 1_000_000_000).unwrap_or(0);
    let nanos = u32::try_from(wall % 1_000_000_000).unwrap_or(0);
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::new(seconds, nanos)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_cut_not_rounded() {
        let offset = 1_767_323_045_000_000_000; // 2026-01-02T03:04:05Z
        assert_eq!(rfc3339(678_901_999, offset), "2026-01-02T03:04:05.678901Z");
        assert_eq!(rfc3339(0, offset), "2026-01-02T03:04:05.000000Z");
        assert_eq!(
            rfc3339(86_400_000_000_000, 951_782_400_000_000_000 - 86_400_000_000_000),
            "2000-02-29T00:00:00.000000Z"
        );
    }

    #[test]
    fn what_cannot_be_written_is_clamped() {
        assert_eq!(rfc3339(5, -100), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            rfc3339(u64::MAX, i128::from(u64::MAX) * 100),
            "9999-12-31T23:59:59.999999Z"
        );
    }
}
