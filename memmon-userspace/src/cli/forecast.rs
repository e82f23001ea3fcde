//! `memmon forecast`: when RAM, swap and units' limits will be exhausted.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use super::{CliResult, ExitCode, OrExit as _, args, history, output, table};
use crate::{
    export::json::forecast::{ForecastDocument, ForecastField},
    runtime::agent::HISTORY,
    source::proc::Proc,
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon forecast                        from the last two hours
  memmon forecast --window 1d --json      from the last day, for machines
  memmon forecast --unit omnimind.service  one unit

Times count from the last stored sample. No trend is an answer: nothing is said where the numbers
only wander. The running agent forecasts the same from the last two hours: memmon report, the metric
memmon_exhaustion_seconds, and alarms ([forecast] in memmon.toml).";

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
/// If there is no database, or it cannot be read; if the unit is not in it.
pub fn main(args: &Args) -> CliResult {
    let history = history::open(&args.database)?;
    let to = history::now() + 1;
    let from = to - history::seconds(args.window);
    history::known(&history, args.unit.as_deref())?;
    let swap = Proc::default()
        .meminfo()
        .ok()
        .and_then(|text| crate::decode::MemInfo::parse(&text).ok());
    let made = history
        .forecasts(
            from,
            to,
            args.unit.as_deref(),
            swap.map(|memory| memory.swap_total),
        )
        .or_exit(ExitCode::Failed)?;
    history::tell_age(&history, to, "memmon forecast")?;
    let document = ForecastDocument {
        schema: "memmon.forecast/1",
        window_seconds: args.window.as_secs(),
        forecasts: made.iter().map(ForecastField::from).collect(),
    };
    let document = serde_json::to_value(&document)?;
    if args.json {
        output::print_json(&document)?;
    } else {
        output::print(&human(&document["forecasts"]))?;
    }
    Ok(ExitCode::Done)
}

fn human(forecasts: &Value) -> String {
    let rows: Vec<&Value> = forecasts.as_array().into_iter().flatten().collect();
    if rows.is_empty() {
        return "nothing with a limit was stored in that time\n".to_owned();
    }
    let mut text = format!("{:<40} {:>9} {:>9}  FULL\n", "RESOURCE", "USED", "LIMIT");
    rows.into_iter().for_each(|row| text += &table::forecast(row));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::schema::assert_valid;

    #[test]
    fn people_read_every_outcome() {
        let example = include_str!("../../../packaging/schemas/examples/memmon.forecast.1.json");
        let document: Value = serde_json::from_str(example).expect("JSON");
        assert_valid("memmon.forecast/1", &document);
        let text = human(&document["forecasts"]);
        for part in [
            "ram                                          6 GiB     8 GiB  no trend\n",
            "omnimind.service MemoryMax                   3 GiB     4 GiB  in 12–18 min\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(human(&Value::Null).contains("nothing with a limit"));
    }
}
