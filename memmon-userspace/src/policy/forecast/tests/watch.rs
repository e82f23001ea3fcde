//! Alarms of forecasts: raised at the second, cleared after the fifth, and no flapping between.

use crate::policy::forecast::{Change, Forecast, Watch, interval};

const WITHIN: f64 = 1200.0;

fn soon(expected: f64) -> Option<Forecast> {
    Some(Forecast::Exhausts {
        earliest: expected / 2.0,
        expected,
        latest: expected * 2.0,
    })
}

fn changes(forecasts: &[Option<Forecast>]) -> Vec<Change> {
    let mut watch = Watch::default();
    forecasts
        .iter()
        .map(|forecast| watch.next(forecast.as_ref(), WITHIN))
        .collect()
}

#[test]
fn one_guess_raises_nothing_and_two_do() {
    let calm = Some(Forecast::NoTrend);
    let told = changes(&[soon(900.0), calm, soon(900.0), soon(1200.0), soon(900.0)]);
    assert_eq!(
        told,
        [
            Change::None,
            Change::None,
            Change::None,
            Change::Raise,
            Change::None
        ]
    );
}

#[test]
fn a_forecast_at_the_edge_does_not_flap() {
    let edge: Vec<_> = (0..100)
        .map(|minute| soon(if minute % 2 == 0 { 1190.0 } else { 1210.0 }))
        .collect();
    assert!(changes(&edge).iter().all(|change| *change == Change::None));
    let mut around = vec![soon(1000.0), soon(1000.0)];
    around.extend(edge);
    let told = changes(&around);
    assert_eq!(told.iter().filter(|change| **change != Change::None).count(), 1);
}

#[test]
fn every_other_outcome_ends_it_after_a_while() {
    for end in [
        None,
        Some(Forecast::NoTrend),
        Some(Forecast::Falling),
        Some(Forecast::TooFar),
        Some(Forecast::TooLittle),
        Some(Forecast::Reached),
        soon(1801.0),
    ] {
        let mut watch = Watch::default();
        assert_eq!(watch.next(soon(60.0).as_ref(), WITHIN), Change::None);
        assert_eq!(watch.next(soon(60.0).as_ref(), WITHIN), Change::Raise);
        for _ in 0..4 {
            assert_eq!(watch.next(end.as_ref(), WITHIN), Change::None, "{end:?}");
        }
        // Once more near, and the count begins again.
        assert_eq!(watch.next(soon(1799.0).as_ref(), WITHIN), Change::None);
        for _ in 0..4 {
            assert_eq!(watch.next(end.as_ref(), WITHIN), Change::None, "{end:?}");
        }
        assert!(watch.is_on() && !watch.is_idle());
        assert_eq!(watch.next(end.as_ref(), WITHIN), Change::Clear, "{end:?}");
        assert!(watch.is_idle());
    }
}

#[test]
fn what_never_comes_near_is_never_remembered() {
    let mut watch = Watch::default();
    for _ in 0..10 {
        assert_eq!(watch.next(soon(4000.0).as_ref(), WITHIN), Change::None);
        assert!(watch.is_idle());
    }
}

#[test]
fn intervals_as_people_say_them() {
    for (earliest, latest, words) in [
        (720.0, 1080.0, "12–18 min"),
        (0.0, 20.0, "less than a minute"),
        (20.0, 200.0, "0–3 min"),
        (700.0, 719.0, "12 min"),
        (3600.0, 9000.0, "60–150 min"),
        (3600.0, 20_000.0, "60 min to 5 h"),
        (20_000.0, 60_000.0, "5–16 h"),
        (100_000.0, 800_000.0, "27 h to 9 days"),
        (400_000.0, 800_000.0, "4–9 days"),
    ] {
        assert_eq!(interval(earliest, latest), words);
    }
}
