//! When RAM will be high, for acting before it is. On the survey's thread: a forecast takes about a millisecond.

use std::{collections::VecDeque, time::Duration};

use crate::{
    policy::{
        HostSnapshot, Outlook,
        forecast::{Forecast, Point, forecast, whole},
    },
    source::proc,
};

/// Between two points, seconds.
const POINT: f64 = 15.0;
/// Points kept: an hour of them.
const POINTS: usize = 240;

/// RAM in use over the last hour.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    used: VecDeque<Point>,
}

impl Ahead {
    /// Takes what was measured, and says when the use of RAM will pass `share` of it; `None` without a trend, and if
    /// nobody wants to know.
    pub(super) fn outlook(&mut self, snapshot: &HostSnapshot, share: Option<f64>) -> Option<Outlook> {
        let at = Duration::from_nanos(proc::monotonic_ns()).as_secs_f64();
        self.outlook_at(at, snapshot, share)
    }

    fn outlook_at(&mut self, at: f64, snapshot: &HostSnapshot, share: Option<f64>) -> Option<Outlook> {
        self.note(at, snapshot);
        #[expect(clippy::cast_precision_loss, reason = "bytes of RAM are below 2^53")]
        let limit = snapshot.host.total as f64 * share?;
        match forecast(self.used.make_contiguous(), limit) {
            Forecast::Exhausts { earliest, latest, .. } => Some(Outlook {
                earliest: whole(earliest),
                latest: whole(latest),
            }),
            _ => None,
        }
    }

    fn note(&mut self, at: f64, snapshot: &HostSnapshot) {
        if self.used.back().is_some_and(|last| at - last.at < POINT) {
            return;
        }
        let host = &snapshot.host;
        #[expect(clippy::cast_precision_loss, reason = "bytes of RAM are below 2^53")]
        let value = host.total.saturating_sub(host.available) as f64;
        self.used.push_back(Point { at, value });
        if self.used.len() > POINTS {
            self.used.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_seen_coming_and_only_the_last_hour_is_kept() {
        let mut ahead = Ahead::default();
        let mut snapshot = HostSnapshot::default();
        snapshot.host.total = 8 << 30;
        for second in 0..7200_u64 {
            snapshot.host.available = (6 << 30) - second * (256 << 10);
            ahead.note(second as f64, &snapshot);
        }
        assert_eq!(ahead.used.len(), POINTS);
        // 4/5 of 8 GiB is 6554 MiB; used are 2048 + 1800 MiB, and 15 more a minute.
        let outlook = ahead.outlook_at(7200.0, &snapshot, Some(0.8)).expect("it rises");
        let expected = 2706 * 4;
        assert!(
            outlook.earliest <= expected + 60 && outlook.latest + 60 >= expected,
            "{outlook:?}"
        );
        assert_eq!(ahead.outlook_at(7200.0, &snapshot, None), None);
    }
}
