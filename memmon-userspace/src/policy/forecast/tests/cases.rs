//! Answers for single series.

use super::series::Numbers;
use crate::policy::forecast::{Forecast, Point, forecast};

const GIB: f64 = (1_u64 << 30) as f64;

fn points(count: usize, value: impl Fn(usize) -> f64) -> Vec<Point> {
    (0..count)
        .map(|index| Point {
            at: index as f64 * 60.0,
            value: value(index),
        })
        .collect()
}

#[test]
fn a_line_is_extended_exactly() {
    let series = points(60, |index| GIB + index as f64 * 1e6);
    let last = GIB + 59e6;
    let Forecast::Exhausts {
        earliest,
        expected,
        latest,
    } = forecast(&series, last + 30e6)
    else {
        panic!("{:?}", forecast(&series, last + 30e6));
    };
    for seconds in [earliest, expected, latest] {
        assert!((seconds - 1800.0).abs() < 1.0, "{seconds}");
    }
}

#[test]
fn noise_widens_the_interval_around_the_truth() {
    let mut numbers = Numbers::new(7);
    let noise: Vec<f64> = (0..60).map(|_| numbers.normal()).collect();
    let interval = |loudness: f64| {
        let series = points(60, |index| GIB + index as f64 * 1e6 + loudness * noise[index]);
        match forecast(&series, GIB + 89e6) {
            Forecast::Exhausts {
                earliest,
                expected,
                latest,
            } => (earliest, expected, latest),
            other => panic!("{other:?}"),
        }
    };
    let (quiet, loud) = (interval(1e6), interval(4e6));
    for (earliest, expected, latest) in [quiet, loud] {
        assert!(
            earliest < expected && expected < latest,
            "{earliest} {expected} {latest}"
        );
        assert!(earliest <= 1800.0 && 1800.0 <= latest, "{earliest} {latest}");
    }
    assert!(loud.2 - loud.0 > 2.0 * (quiet.2 - quiet.0), "{quiet:?} {loud:?}");
}

#[test]
fn no_trend_is_an_answer() {
    assert_eq!(forecast(&points(60, |_| GIB), 2.0 * GIB), Forecast::NoTrend);
    assert_eq!(
        forecast(&points(60, |index| GIB - index as f64 * 1e6), 2.0 * GIB),
        Forecast::Falling
    );
    assert_eq!(
        forecast(&points(60, |index| GIB + index as f64), 2.0 * GIB),
        Forecast::TooFar
    );
    assert_eq!(
        forecast(&points(15, |index| GIB + index as f64 * 1e6), 2.0 * GIB),
        Forecast::TooLittle
    );
    assert_eq!(forecast(&[], 1.0), Forecast::TooLittle);
    assert_eq!(forecast(&points(60, |_| GIB), GIB), Forecast::Reached);
}

#[test]
fn points_at_one_time_say_nothing() {
    let series = vec![Point { at: 5.0, value: GIB }; 40];
    assert_eq!(forecast(&series, 2.0 * GIB), Forecast::TooLittle);
}

#[test]
fn a_leak_that_has_stopped_is_no_leak() {
    let series = points(80, |index| {
        GIB + index.min(40) as f64 * 5e6 + (index % 2) as f64 * 1e5
    });
    assert_eq!(forecast(&series, 2.0 * GIB), Forecast::NoTrend);
}

#[test]
fn spikes_do_not_bend_it() {
    let clean = points(60, |index| GIB + index as f64 * 1e6);
    let spiked: Vec<Point> = clean
        .iter()
        .enumerate()
        .map(|(index, point)| Point {
            value: point.value + if index % 9 == 4 { GIB } else { 0.0 },
            ..*point
        })
        .collect();
    let expected = |series: &[Point]| match forecast(series, GIB + 200e6) {
        Forecast::Exhausts { expected, .. } => expected,
        other => panic!("{other:?}"),
    };
    let ratio = expected(&spiked) / expected(&clean);
    assert!((0.95..1.05).contains(&ratio), "{ratio}");
}

#[test]
fn a_long_series_is_condensed_and_says_the_same() {
    let slope = |count: usize| {
        let step = 5760.0 / count as f64;
        let series: Vec<Point> = (0..count)
            .map(|index| Point {
                at: index as f64 * step,
                value: GIB + index as f64 * step * 1e5,
            })
            .collect();
        match forecast(&series, 2.0 * GIB) {
            Forecast::Exhausts { expected, .. } => expected + 5760.0,
            other => panic!("{other:?}"),
        }
    };
    let (short, long) = (slope(96), slope(9600));
    assert!((short / long - 1.0).abs() < 0.02, "{short} {long}");
}
