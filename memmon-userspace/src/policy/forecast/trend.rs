//! A robust line through points, and whether it means anything.

use super::{Point, median};

/// The Mann–Kendall statistic beyond which a trend is not by chance: 1 %, two-sided.
const SIGNIFICANT: f64 = 2.58;
/// Half the width of the slope's interval: 90 %, two-sided.
const INTERVAL: f64 = 1.645;
/// Of a normal distribution, the standard deviation per median absolute deviation.
const PER_MAD: f64 = 1.4826;

/// A robust line through points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Per second.
    pub slope: f64,
    /// The interval's upper end.
    pub steepest: f64,
    /// The interval's lower end.
    pub flattest: f64,
    /// Value of the line at time 0.
    pub intercept: f64,
    /// How far points typically are from the line.
    pub spread: f64,
    /// The Mann–Kendall statistic, its variance corrected for autocorrelation.
    pub z: f64,
}

impl Trend {
    /// The line through `points`; `None` if they have no extent in time.
    pub fn of(points: &[Point]) -> Option<Self> {
        let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
        let mut s = 0.0;
        for (index, a) in points.iter().enumerate() {
            for b in &points[index + 1..] {
                let step = b.value - a.value;
                if step != 0.0 {
                    s += step.signum();
                }
                if b.at > a.at {
                    slopes.push(step / (b.at - a.at));
                }
            }
        }
        let slope = median(&mut slopes)?;
        let mut intercepts: Vec<f64> = points
            .iter()
            .map(|point| point.value - slope * point.at)
            .collect();
        let residuals = intercepts.clone();
        let intercept = median(&mut intercepts)?;
        let mut deviations: Vec<f64> = residuals.iter().map(|value| (value - intercept).abs()).collect();
        let spread = median(&mut deviations)? * PER_MAD;
        let deviation = (variance(points) * inflation(&residuals, intercept)).sqrt();
        let z = if deviation > 0.0 {
            (s - s.signum()).abs() * s.signum() / deviation
        } else {
            0.0
        };
        // The slopes are sorted now: so many on each side of the middle belong to the interval.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of slopes, positive"
        )]
        let aside = (INTERVAL * deviation / 2.0).ceil() as usize;
        let middle = slopes.len() / 2;
        Some(Self {
            slope,
            steepest: slopes[(middle + aside).min(slopes.len() - 1)],
            flattest: slopes[middle.saturating_sub(aside)],
            intercept,
            spread,
            z,
        })
    }

    /// It rises or falls, and not by chance.
    pub fn is_significant(&self) -> bool {
        self.z.abs() > SIGNIFICANT
    }

    /// Value of the line at `at`.
    pub fn level_at(&self, at: f64) -> f64 {
        self.intercept + self.slope * at
    }
}

/// Variance of the Mann–Kendall sum for independent points, ties counted out.
fn variance(points: &[Point]) -> f64 {
    let term = |n: usize| {
        let n = n as f64;
        n * (n - 1.0) * (2.0 * n + 5.0)
    };
    let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|tied| term(tied.len())).sum();
    (term(points.len()) - ties) / 18.0
}

/// By how much the variance grows because one point resembles the next.
fn inflation(residuals: &[f64], centre: f64) -> f64 {
    let squares: f64 = residuals.iter().map(|value| (value - centre).powi(2)).sum();
    // What is left of a straight line is the rounding of the arithmetic, which means nothing.
    let rounding = f64::EPSILON * centre.abs().max(1.0) * 16.0;
    if squares <= residuals.len() as f64 * rounding.powi(2) {
        return 1.0;
    }
    let products: f64 = residuals
        .windows(2)
        .map(|pair| (pair[0] - centre) * (pair[1] - centre))
        .sum();
    let lag = (products / squares).clamp(0.0, 0.95);
    (1.0 + lag) / (1.0 - lag)
}
