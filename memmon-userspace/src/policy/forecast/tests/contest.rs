//! The method against the two plain ones: the last two values extended, and a least-squares line.

use std::fmt::Write as _;

use super::series::{KINDS, LIMIT, Numbers, SEEN};
use crate::policy::forecast::{Forecast, Point, forecast};

/// Series of each kind.
const RUNS: u64 = 50;
/// A forecast within this time is an alarm, seconds: four times as far ahead as was looked back.
const SOON: f64 = SEEN as f64 * 60.0 * 4.0;

fn robust(points: &[Point]) -> Option<f64> {
    match forecast(points, LIMIT) {
        Forecast::Exhausts { expected, .. } => Some(expected),
        Forecast::Reached => Some(0.0),
        _ => None,
    }
}

fn last_value(points: &[Point]) -> Option<f64> {
    let [.., before, last] = points else { return None };
    until_full(last.value, (last.value - before.value) / (last.at - before.at))
}

fn least_squares(points: &[Point]) -> Option<f64> {
    let count = points.len() as f64;
    let (at, value) = (
        points.iter().map(|point| point.at).sum::<f64>() / count,
        points.iter().map(|point| point.value).sum::<f64>() / count,
    );
    let up: f64 = points
        .iter()
        .map(|point| (point.at - at) * (point.value - value))
        .sum();
    let across: f64 = points.iter().map(|point| (point.at - at).powi(2)).sum();
    let last = points.last()?;
    until_full(value + up / across * (last.at - at), up / across)
}

fn until_full(value: f64, slope: f64) -> Option<f64> {
    (slope > 0.0).then(|| ((LIMIT - value) / slope).max(0.0))
}

/// How a method did on one kind of series.
#[derive(Default)]
struct Score {
    /// Of series that fill up: relative errors; infinite where it said nothing.
    errors: Vec<f64>,
    /// Of series that never do: alarms.
    alarms: u64,
}

impl Score {
    fn add(&mut self, said: Option<f64>, truth: Option<f64>) {
        match truth {
            Some(truth) => self
                .errors
                .push(said.map_or(f64::INFINITY, |said| (said - truth).abs() / truth)),
            None => self.alarms += u64::from(said.is_some_and(|said| said <= SOON)),
        }
    }

    fn median(&self) -> f64 {
        let mut errors = self.errors.clone();
        errors.sort_by(f64::total_cmp);
        errors.get(errors.len() / 2).copied().unwrap_or(0.0)
    }

    /// Median error and share of series without an answer; or the share of false alarms. Per cent.
    fn text(&self) -> String {
        let percent = |part: usize| part as u64 * 100 / RUNS;
        if self.errors.is_empty() {
            return format!("{} %", percent(usize::try_from(self.alarms).unwrap_or(0)));
        }
        let silent = self.errors.iter().filter(|error| error.is_infinite()).count();
        let error = self.median() * 100.0;
        match (error.is_finite(), silent) {
            (false, _) => format!("silent {} %", percent(silent)),
            (true, 0) => format!("{error:.0} %"),
            (true, _) => format!("{error:.0} %, silent {} %", percent(silent)),
        }
    }
}

type Method = fn(&[Point]) -> Option<f64>;
const METHODS: [(&str, Method); 3] = [
    ("memmon", robust),
    ("last value", last_value),
    ("least squares", least_squares),
];

fn scores(kind: &super::series::Kind) -> [Score; 3] {
    let mut scores: [Score; 3] = Default::default();
    for seed in 1..=RUNS {
        let (points, truth) = (kind.make)(&mut Numbers::new(seed));
        for (score, (_, method)) in scores.iter_mut().zip(METHODS) {
            score.add(method(&points), truth);
        }
    }
    scores
}

/// RAM of a machine that compiles, every five seconds for an hour: "time,KiB". It never filled up.
const BUILDS: &str = include_str!("../../../../tests/fixtures/series/builds.csv");

/// Share of windows of five minutes from which each method said that RAM use would pass the hour's peak by a quarter
/// within twenty minutes.
fn recorded() -> [String; 3] {
    let points: Vec<Point> = BUILDS
        .lines()
        .filter_map(|line| {
            let (at, kib) = line.split_once(',')?;
            Some(Point {
                at: at.parse().ok()?,
                value: kib.parse::<f64>().ok()? * 1024.0,
            })
        })
        .collect();
    let peak = points.iter().map(|point| point.value).fold(0.0, f64::max);
    // The methods know one limit: the series is scaled to it.
    let scale = LIMIT / (peak * 1.25);
    let scaled: Vec<Point> = points
        .iter()
        .map(|point| Point {
            value: point.value * scale,
            ..*point
        })
        .collect();
    let windows: Vec<&[Point]> = scaled.windows(SEEN).step_by(10).collect();
    METHODS.map(|(_, method)| {
        let soon = SEEN as f64 * 5.0 * 4.0;
        let alarms = windows
            .iter()
            .filter(|window| method(window).is_some_and(|said| said <= soon));
        format!("{} %", alarms.count() * 100 / windows.len())
    })
}

#[test]
fn the_documented_table_is_what_is_measured() {
    let scores: Vec<(&str, [Score; 3])> = KINDS.iter().map(|kind| (kind.name, scores(kind))).collect();
    let mut table = String::from("| series | memmon | last value | least squares |\n|---|---|---|---|\n");
    for (name, [robust, last, squares]) in &scores {
        let (robust, last, squares) = (robust.text(), last.text(), squares.text());
        let _ = writeln!(table, "| {name} | {robust} | {last} | {squares} |");
    }
    let [robust, last, squares] = recorded();
    let _ = writeln!(
        table,
        "| recorded: an hour of builds | {robust} | {last} | {squares} |"
    );
    let documented = include_str!("../../../../../docs/forecast.md");
    assert!(
        documented.contains(&table),
        "docs/forecast.md should hold\n{table}"
    );

    let alarms = |method: usize| -> u64 { scores.iter().map(|(_, scores)| scores[method].alarms).sum() };
    assert!(
        alarms(0) * 3 < alarms(1) && alarms(0) * 3 < alarms(2),
        "fewer false alarms than either: {table}"
    );
    let spikes = scores.iter().find(|(name, _)| *name == "leak, spikes");
    let errors = spikes.map(|(_, scores)| scores.each_ref().map(Score::median));
    assert!(
        errors.is_some_and(|[robust, last, squares]| robust < last && robust < squares),
        "spikes cost it less than either: {table}"
    );
}
