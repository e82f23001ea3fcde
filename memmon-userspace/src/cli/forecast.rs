//! `memmon forecast`: when RAM, swap and units' limits will be exhausted.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use serde_json::json;

use super::{CliResult, ExitCode, OrExit as _, args, history, output, table};
use crate::{
    export::json::forecast::{ForecastDocument, ForecastField, Look},
    policy::forecast::Forecast,
    runtime::agent::HISTORY,
    source::proc::Proc,
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon forecast                        from the last two hours
  memmon forecast --window 1d --json      from the last day, for machines
  memmon forecast --unit omnimind.service  one unit";

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

/// Prints the forecasts.
///
/// # Errors
/// If there is no database, or it cannot be read.
pub fn main(args: &Args) -> CliResult {
    let document = forecasts(args).or_exit(ExitCode::Failed)?;
    if args.json {
        output::print_json(&json!(document))?;
    } else {
        output::print(&human(&document.forecasts))?;
    }
    Ok(ExitCode::Done)
}

fn forecasts(args: &Args) -> Result<ForecastDocument, anyhow::Error> {
    let history = history::open(&args.database)?;
    let memory = Proc::default()
        .meminfo()
        .ok()
        .and_then(|text| crate::decode::MemInfo::parse(&text).ok());
    let to = history::now() + 1;
    let look = Look {
        from: to - history::seconds(args.window),
        to,
        unit: args.unit.as_deref(),
        swap_total: memory.map(|memory| memory.swap_total).filter(|total| *total > 0),
        units: usize::MAX,
    };
    Ok(ForecastDocument::from_history(&history, &look)?)
}

fn human(answers: &[ForecastField]) -> String {
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
            table::bytes(&json!(answer.used_bytes)),
            table::bytes(&json!(answer.limit_bytes)),
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
