//! `memmon forecast`: when RAM, swap and units' limits will be exhausted.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{CliResult, ExitCode, OrExit as _, args, history, output, table};
use crate::{
    policy::forecast::{Forecast, Point, forecast},
    record::{HOST, SeriesPoint},
    runtime::agent::HISTORY,
    source::proc::Proc,
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon forecast                        from the last two hours
  memmon forecast --window 1d --json      from the last day, for machines
  memmon forecast --unit omnimind.service  one unit";

/// Rows that a forecast looks at.
const ROWS: i64 = 2000;

/// Arguments of `memmon forecast`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Look back so far; nothing is forecast beyond ten times as much
    #[arg(long, value_name = "SPAN", default_value = "2h", value_parser = args::span)]
    pub window: Duration,
    /// Only this unit
    #[arg(long, value_name = "UNIT")]
    pub unit: Option<String>,
    /// One JSON object (memmon.forecast/1)
    #[arg(long)]
    pub json: bool,
    /// Read this database
    #[arg(long, value_name = "FILE", default_value = HISTORY)]
    pub database: PathBuf,
}

/// One answer.
struct Answer {
    resource: &'static str,
    unit: Option<String>,
    used: u64,
    limit: u64,
    forecast: Forecast,
}

/// Prints the forecasts.
///
/// # Errors
/// If there is no database, or it cannot be read.
pub fn main(args: &Args) -> CliResult {
    let answers = answers(args).or_exit(ExitCode::Failed)?;
    if args.json {
        let rows: Vec<Value> = answers.iter().map(row).collect();
        output::print_json(&json!({
            "schema": "memmon.forecast/1",
            "window_seconds": args.window.as_secs(),
            "forecasts": rows,
        }))?;
    } else {
        output::print(&human(&answers))?;
    }
    Ok(ExitCode::Done)
}

fn answers(args: &Args) -> Result<Vec<Answer>, anyhow::Error> {
    let history = history::open(&args.database)?;
    let to = history::now() + 1;
    let from = to - history::seconds(args.window);
    let mut answers = Vec::new();
    if args.unit.is_none() {
        let host = history.series(HOST, from, to, ROWS)?;
        answers.extend(answer(
            "ram",
            None,
            &host,
            |row| row.memory_bytes,
            last_limit(&host),
        ));
        let swap = Proc::default()
            .meminfo()
            .ok()
            .and_then(|text| crate::decode::MemInfo::parse(&text).ok());
        let total = swap.map(|memory| memory.swap_total).filter(|total| *total > 0);
        answers.extend(answer("swap", None, &host, |row| row.swap_bytes, total));
    }
    for unit in history.overview(from, to)? {
        if unit.unit == HOST || args.unit.as_ref().is_some_and(|wanted| *wanted != unit.unit) {
            continue;
        }
        let series = history.series(&unit.unit, from, to, ROWS)?;
        let limit = last_limit(&series);
        answers.extend(answer(
            "memory_max",
            Some(unit.unit),
            &series,
            |row| row.memory_bytes,
            limit,
        ));
    }
    Ok(answers)
}

fn last_limit(series: &[SeriesPoint]) -> Option<u64> {
    u64::try_from(series.last()?.memory_limit_bytes?).ok()
}

/// `None` without a limit: what is not limited is not exhausted by itself.
fn answer(
    resource: &'static str,
    unit: Option<String>,
    series: &[SeriesPoint],
    value: impl Fn(&SeriesPoint) -> i64,
    limit: Option<u64>,
) -> Option<Answer> {
    let limit = limit?;
    #[expect(clippy::cast_precision_loss, reason = "bytes and seconds are below 2^53")]
    let points: Vec<Point> = series
        .iter()
        .map(|row| Point {
            at: row.at as f64,
            value: value(row) as f64,
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "bytes are below 2^53")]
    let forecast = forecast(&points, limit as f64);
    Some(Answer {
        resource,
        unit,
        used: series
            .last()
            .map_or(0, |row| u64::try_from(value(row)).unwrap_or(0)),
        limit,
        forecast,
    })
}

fn row(answer: &Answer) -> Value {
    let (outcome, span) = match answer.forecast {
        Forecast::TooLittle => ("too_little", None),
        Forecast::NoTrend => ("no_trend", None),
        Forecast::Falling => ("falling", None),
        Forecast::TooFar => ("too_far", None),
        Forecast::Reached => ("reached", None),
        Forecast::Exhausts {
            earliest,
            expected,
            latest,
        } => ("exhausts", Some([earliest, expected, latest].map(f64::round))),
    };
    json!({
        "resource": answer.resource,
        "unit": answer.unit,
        "used_bytes": answer.used,
        "limit_bytes": answer.limit,
        "outcome": outcome,
        "earliest_seconds": span.map(|span| span[0]),
        "expected_seconds": span.map(|span| span[1]),
        "latest_seconds": span.map(|span| span[2]),
    })
}

fn human(answers: &[Answer]) -> String {
    if answers.is_empty() {
        return "nothing with a limit was stored in that time\n".to_owned();
    }
    let mut text = format!("{:<40} {:>9} {:>9}  FULL\n", "RESOURCE", "USED", "LIMIT");
    for answer in answers {
        let name = match &answer.unit {
            Some(unit) => format!("{unit} MemoryMax"),
            None => answer.resource.to_owned(),
        };
        let _ = writeln!(
            text,
            "{name:<40} {:>9} {:>9}  {}",
            table::bytes(&json!(answer.used)),
            table::bytes(&json!(answer.limit)),
            words(&answer.forecast)
        );
    }
    text
}

fn words(forecast: &Forecast) -> String {
    match *forecast {
        Forecast::TooLittle => "too few samples to tell".to_owned(),
        Forecast::NoTrend => "no trend".to_owned(),
        Forecast::Falling => "no: it falls".to_owned(),
        Forecast::TooFar => "rises, but too slowly to tell when".to_owned(),
        Forecast::Reached => "now".to_owned(),
        Forecast::Exhausts { earliest, latest, .. } => {
            format!("in {} to {}", span(earliest), span(latest))
        }
    }
}

fn span(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and capped by the forecast"
    )]
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}
