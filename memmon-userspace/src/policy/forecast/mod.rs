//! When will it be full? An interval, from a trend that outliers do not bend; or that there is no trend.
//!
//! - The trend is the Theil–Sen slope: the median of the slopes between all pairs of points. Up to 29 % of the
//!   points may be anything (Sen, J. Am. Stat. Assoc. 63, 1968).
//! - Whether there is one is decided by the Mann–Kendall test, whose variance is widened by how much one point
//!   resembles the next (as Hamed and Rao, J. Hydrol. 204, 1998, here with the first lag): memory wanders, and a
//!   walk looks like a trend to a test that takes its steps for independent.
//! - The newer half alone must have the trend as well, and it is its slope that is used: a leak that has stopped
//!   is no leak.
//!
//! docs/forecast.md compares this with simpler methods, and says where it loses.

mod trend;
mod watch;

pub use trend::Trend;
pub use watch::{Change, Watch};

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When, seconds since any fixed moment.
    pub at: f64,
    /// What, bytes.
    pub value: f64,
}

/// When a limit will be reached.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Forecast {
    /// Too few points, or too close together.
    TooLittle,
    /// Nothing that differs from chance.
    NoTrend,
    /// It falls.
    Falling,
    /// It rises, but reaches the limit so late that nobody can tell: later than ten times the time looked at.
    TooFar,
    /// It is there already.
    Reached,
    /// It rises and reaches the limit, seconds from the last point.
    Exhausts {
        /// At the earliest.
        earliest: f64,
        /// Most likely.
        expected: f64,
        /// At the latest.
        latest: f64,
    },
}

/// Fewer points in each half than this say nothing.
const LEAST_POINTS: usize = 8;
/// More are put together, by medians, before they are compared in pairs.
const MOST_POINTS: usize = 96;
/// Nothing is forecast beyond so many times the time that was looked at.
const REACH: f64 = 10.0;

/// Forecasts when the series reaches `limit`. The points are in order of time.
pub fn forecast(points: &[Point], limit: f64) -> Forecast {
    // Of the points as they came: put together, the last one is older.
    let Some(now) = points.last().map(|last| last.at) else {
        return Forecast::TooLittle;
    };
    let points = condensed(points);
    if points.len() < 2 * LEAST_POINTS {
        return Forecast::TooLittle;
    }
    let newer = &points[points.len() / 2..];
    let (Some(whole), Some(recent)) = (Trend::of(&points), Trend::of(newer)) else {
        return Forecast::TooLittle;
    };
    let Some(first) = points.first() else {
        return Forecast::TooLittle;
    };
    if recent.level_at(now) >= limit {
        return Forecast::Reached;
    }
    if !whole.is_significant() || !recent.is_significant() || (whole.slope > 0.0) != (recent.slope > 0.0) {
        return Forecast::NoTrend;
    }
    if recent.slope < 0.0 {
        return Forecast::Falling;
    }
    let left = limit - recent.level_at(now);
    let farthest = REACH * (now - first.at);
    let at = |left: f64, slope: f64| {
        if slope > 0.0 {
            (left / slope).max(0.0)
        } else {
            f64::INFINITY
        }
    };
    let expected = at(left, recent.slope);
    if expected > farthest {
        return Forecast::TooFar;
    }
    // Both the slope and where the series stands now are uncertain.
    Forecast::Exhausts {
        earliest: at(left - recent.spread, recent.steepest),
        expected,
        latest: at(left + recent.spread, recent.flattest).min(farthest),
    }
}

/// An interval of time, seconds, as people say it: `12–18 min`.
pub fn interval(earliest: f64, latest: f64) -> String {
    let ((from, from_unit), (to, to_unit)) = (rounded(earliest), rounded(latest));
    match (from, to) {
        (_, 0) => "less than a minute".to_owned(),
        _ if from_unit != to_unit => format!("{from} {from_unit} to {to} {to_unit}"),
        _ if from == to => format!("{to} {to_unit}"),
        _ => format!("{from}–{to} {to_unit}"),
    }
}

/// In the unit that says enough: minutes up to two hours and a half, hours up to two days.
fn rounded(seconds: f64) -> (u64, &'static str) {
    let minutes = whole(seconds / 60.0);
    match minutes {
        0..=150 => (minutes, "min"),
        151..2880 => (minutes / 60, "h"),
        _ => (minutes / 1440, "days"),
    }
}

/// The nearest whole number; 0 for what is negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds ahead: positive, and capped by the forecast"
)]
pub fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

/// At most [`MOST_POINTS`] points: each the median of as many neighbours.
fn condensed(points: &[Point]) -> Vec<Point> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let size = points.len().div_ceil(MOST_POINTS);
    points
        .chunks(size)
        .filter_map(|chunk| {
            let mut values: Vec<f64> = chunk.iter().map(|point| point.value).collect();
            Some(Point {
                at: chunk.iter().map(|point| point.at).sum::<f64>() / chunk.len() as f64,
                value: median(&mut values)?,
            })
        })
        .collect()
}

/// The middle one, or the mean of the two in the middle; sorts.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests;
