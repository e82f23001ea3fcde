//! Histograms with fixed bounds.

use std::time::Duration;

use memmon_common::event::{STALL_BUCKETS, StallHistogram};

/// Upper bounds of reaction times, seconds: the goal is a few milliseconds.
const REACTION: [f64; 14] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];
/// Which of the kernel side's bounds (2^i microseconds) are shown for stalls: every second one, 64 µs to 4 s.
const STALL_POWERS: [u32; 9] = [6, 8, 10, 12, 14, 16, 18, 20, 22];

/// How often values fell below each bound, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bound, seconds, and how many values fit it but not the bound before. The last bound is infinite.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Default for Histogram {
    /// No reactions yet.
    fn default() -> Self {
        Self::with_bounds(REACTION.into_iter())
    }
}

impl From<&StallHistogram> for Histogram {
    fn from(stalls: &StallHistogram) -> Self {
        let mut histogram =
            Self::with_bounds(STALL_POWERS.iter().map(|&power| f64::from(1_u32 << power) / 1e6));
        for (power, &count) in (0_u32..).zip(&stalls.buckets) {
            // The last bucket takes everything longer.
            let last = power as usize == STALL_BUCKETS - 1;
            let shown = STALL_POWERS.iter().position(|&bound| power <= bound && !last);
            histogram.buckets[shown.unwrap_or(STALL_POWERS.len())].1 += count;
        }
        histogram.sum = Duration::from_nanos(stalls.sum_ns).as_secs_f64();
        histogram
    }
}

impl Histogram {
    fn with_bounds(bounds: impl Iterator<Item = f64>) -> Self {
        Self {
            buckets: bounds.chain([f64::INFINITY]).map(|bound| (bound, 0)).collect(),
            sum: 0.0,
        }
    }

    /// Counts one value.
    pub fn observe(&mut self, value: Duration) {
        let seconds = value.as_secs_f64();
        self.sum += seconds;
        if let Some((_, count)) = self.buckets.iter_mut().find(|(bound, _)| seconds <= *bound) {
            *count += 1;
        }
    }

    /// Adds another histogram with the same bounds.
    pub(super) fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.buckets.len(), other.buckets.len());
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.sum += other.sum;
    }

    pub(super) fn buckets(&self) -> &[(f64, u64)] {
        &self.buckets
    }

    pub(super) const fn sum(&self) -> f64 {
        self.sum
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}
