//! Series to compare methods on: generated ones, whose truth is known, and one that was recorded.

use crate::policy::forecast::Point;

/// Bytes of one MiB.
pub(super) const MIB: f64 = (1_u64 << 20) as f64;
/// Points that a method sees, a minute apart.
pub(super) const SEEN: usize = 60;
/// Where it is full.
pub(super) const LIMIT: f64 = 4096.0 * MIB;

/// A small generator of numbers (xorshift64*): the same series on every run.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Evenly between 0 and 1.
    pub(super) fn even(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, mean 0, deviation 1.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }
}

/// A kind of series, and when it is really full: seconds after the last point seen; `None`: never.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) make: fn(&mut Numbers) -> (Vec<Point>, Option<f64>),
}

fn series(numbers: &mut Numbers, value: impl Fn(&mut Numbers, f64) -> f64) -> Vec<Point> {
    (0..SEEN)
        .map(|index| {
            let at = index as f64 * 60.0;
            Point {
                at,
                value: value(numbers, index as f64),
            }
        })
        .collect()
}

/// A leak of 10 to 30 MiB a minute that began at 1,000 MiB: (start, slope per minute, truth in seconds).
fn leak(numbers: &mut Numbers) -> (f64, f64, Option<f64>) {
    let slope = (10.0 + 20.0 * numbers.even()) * MIB;
    let start = 1000.0 * MIB;
    let minutes = (LIMIT - start) / slope - (SEEN - 1) as f64;
    (start, slope, Some(minutes * 60.0))
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "leak, no noise",
        make: |numbers| {
            let (start, slope, truth) = leak(numbers);
            (series(numbers, |_, minute| start + slope * minute), truth)
        },
    },
    Kind {
        name: "leak, noise",
        make: |numbers| {
            let (start, slope, truth) = leak(numbers);
            (
                series(numbers, |n, minute| {
                    start + slope * minute + 40.0 * MIB * n.normal()
                }),
                truth,
            )
        },
    },
    Kind {
        name: "leak, spikes",
        make: |numbers| {
            let (start, slope, truth) = leak(numbers);
            let spiked = series(numbers, |n, minute| {
                let spike = if n.even() < 0.15 {
                    1500.0 * MIB * n.even()
                } else {
                    0.0
                };
                start + slope * minute + 10.0 * MIB * n.normal() + spike
            });
            (spiked, truth)
        },
    },
    Kind {
        name: "leak under a saw-tooth",
        make: |numbers| {
            let (start, slope, truth) = leak(numbers);
            let period = 5.0 + 5.0 * numbers.even();
            (
                series(numbers, |_, minute| {
                    start + slope * minute + 200.0 * MIB * (minute % period) / period
                }),
                truth,
            )
        },
    },
    Kind {
        name: "leak that speeds up",
        make: |numbers| {
            let rate = (0.012 + 0.008 * numbers.even()) / 60.0;
            let value = move |seconds: f64| 800.0 * MIB * (rate * seconds).exp();
            let full = (LIMIT / (800.0 * MIB)).ln() / rate - (SEEN - 1) as f64 * 60.0;
            (
                series(numbers, |n, minute| value(minute * 60.0) + 5.0 * MIB * n.normal()),
                Some(full),
            )
        },
    },
    Kind {
        name: "leak that began 15 min ago",
        make: |numbers| {
            let slope = (10.0 + 20.0 * numbers.even()) * MIB;
            let grown = slope * 15.0;
            let truth = (LIMIT - 1000.0 * MIB - grown) / slope * 60.0;
            let value = |n: &mut Numbers, minute: f64| {
                1000.0 * MIB + slope * (minute - 44.0).max(0.0) + 10.0 * MIB * n.normal()
            };
            (series(numbers, value), Some(truth))
        },
    },
    Kind {
        name: "steady, noise",
        make: |numbers| {
            (
                series(numbers, |n, _| 2000.0 * MIB + 40.0 * MIB * n.normal()),
                None,
            )
        },
    },
    Kind {
        name: "steady, spikes",
        make: |numbers| {
            let value = |n: &mut Numbers, _| {
                let spike = if n.even() < 0.15 {
                    1500.0 * MIB * n.even()
                } else {
                    0.0
                };
                2000.0 * MIB + 10.0 * MIB * n.normal() + spike
            };
            (series(numbers, value), None)
        },
    },
    Kind {
        name: "steady saw-tooth",
        make: |numbers| {
            let (period, shift) = (5.0 + 15.0 * numbers.even(), 20.0 * numbers.even());
            (
                series(numbers, |_, minute| {
                    2000.0 * MIB + 800.0 * MIB * ((minute + shift) % period) / period
                }),
                None,
            )
        },
    },
    Kind {
        name: "one step up",
        make: |numbers| {
            let when = 15.0 + 40.0 * numbers.even();
            let value = |n: &mut Numbers, minute: f64| {
                1500.0 * MIB + if minute > when { 800.0 * MIB } else { 0.0 } + 10.0 * MIB * n.normal()
            };
            (series(numbers, value), None)
        },
    },
    Kind {
        name: "leak that has stopped",
        make: |numbers| {
            let slope = (10.0 + 20.0 * numbers.even()) * MIB;
            (
                series(numbers, |n, minute| {
                    1000.0 * MIB + slope * minute.min(35.0) + 10.0 * MIB * n.normal()
                }),
                None,
            )
        },
    },
    Kind {
        name: "random walk",
        make: |numbers| {
            let mut value = 2000.0 * MIB;
            let points = (0..SEEN).map(|index| {
                value += 25.0 * MIB * numbers.normal();
                Point {
                    at: index as f64 * 60.0,
                    value,
                }
            });
            (points.collect(), None)
        },
    },
];
