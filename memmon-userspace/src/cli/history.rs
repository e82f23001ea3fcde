//! `memmon history`: what was stored.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{CliResult, ExitCode, OrExit as _, args, output, table};
use crate::{
    decode::rfc3339,
    record::{EventKind, EventRow, HOST, History, Overview, SeriesPoint, StoreError},
    runtime::agent::HISTORY,
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon history                                 the last day: every unit, and what happened
  memmon history --since 2h --unit batch.service  one unit over time
  memmon history --since 7d --until 6d --json     a day last week, for machines
  memmon history --kind decision --since 1h       what was decided";

/// Rows of a series that are shown at most.
const ROWS: i64 = 500;
/// A last sample older than this says that nobody stores any, seconds. Some sample only now and then.
const STALE: i64 = 900;

/// Arguments of `memmon history`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only this unit, as a row per point in time; "(host)" is the host
    #[arg(long, value_name = "UNIT")]
    pub unit: Option<String>,
    /// From so long ago
    #[arg(long, value_name = "SPAN", default_value = "1d", value_parser = args::span)]
    pub since: Duration,
    /// Until so long ago; now, if not given
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    pub until: Option<Duration>,
    /// Only events of this kind, and no samples
    #[arg(long, value_name = "KIND", value_parser = ["alarm", "cleared", "situation", "decision", "outcome"])]
    pub kind: Option<String>,
    /// At most so many events, the latest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// One JSON object (memmon.history/1)
    #[arg(long)]
    pub json: bool,
    /// Read this database
    #[arg(long, value_name = "FILE", default_value = HISTORY)]
    pub database: PathBuf,
}

/// What is shown.
struct Shown {
    from: i64,
    to: i64,
    units: Vec<Overview>,
    series: Vec<SeriesPoint>,
    events: Vec<EventRow>,
}

/// Prints the history.
///
/// # Errors
/// If there is no database, or it cannot be read.
pub fn main(args: &Args) -> CliResult {
    let now = now();
    let to = now - args.until.map_or(0, seconds) + 1;
    let from = now - seconds(args.since);
    if from >= to {
        let until = args.until.unwrap_or_default();
        return Err(super::Failure::message(
            ExitCode::Usage,
            format!(
                "--since {} is not longer ago than --until {}: nothing lies between them; exchange the two",
                humantime::format_duration(args.since),
                humantime::format_duration(until)
            ),
        ));
    }
    let shown = read(args, from, to)?;
    if args.json {
        output::print_json(&document(args, &shown))?;
    } else {
        output::print(&human(args, &shown))?;
    }
    Ok(ExitCode::Done)
}

/// Opens the database and reads what is asked for.
fn read(args: &Args, from: i64, to: i64) -> Result<Shown, super::Failure> {
    let history = open(&args.database)?;
    let unit = args.unit.as_deref();
    known(&history, unit)?;
    let (mut units, mut series) = (Vec::new(), Vec::new());
    match (unit, &args.kind) {
        (_, Some(_)) => {}
        (Some(unit), None) => series = history.series(unit, from, to, ROWS)?,
        (None, None) => units = history.overview(from, to)?,
    }
    let about = unit.filter(|unit| *unit != HOST);
    let events = history.events(from, to, about, args.kind.as_deref(), args.limit)?;
    Ok(Shown {
        from,
        to,
        units,
        series,
        events,
    })
}

/// Opens the database for reading.
///
/// # Errors
/// If it cannot be; says where it comes from.
pub(super) fn open(path: &std::path::Path) -> Result<History, super::Failure> {
    // SQLite says of everything that it cannot open only that it cannot.
    let code = match std::fs::File::open(path) {
        Ok(_) => ExitCode::Failed,
        Err(error) => {
            let (code, remedy) = match error.kind() {
                std::io::ErrorKind::PermissionDenied => (ExitCode::Permission, "read it as root"),
                _ => (
                    ExitCode::Failed,
                    "the agent (memmon.service) writes it, unless [history] has enabled = false; --database names another",
                ),
            };
            let text = format!("opening the history {}: {error}; {remedy}", path.display());
            return Err(super::Failure::message(code, text));
        }
    };
    History::open(path).or_exit(code)
}

/// Requires that the unit was ever stored.
///
/// # Errors
/// If it was not: bad usage, which names units that are spelt like it.
pub(super) fn known(history: &History, unit: Option<&str>) -> Result<(), super::Failure> {
    let Some(unit) = unit else { return Ok(()) };
    let names = history.units()?;
    if names.iter().any(|name| name == unit) {
        return Ok(());
    }
    let stem = unit.split(['.', '@', '-']).next().unwrap_or(unit);
    let alike: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !stem.is_empty() && name.contains(stem))
        .take(5)
        .collect();
    let hint = if alike.is_empty() {
        "memmon history without --unit shows which there are".to_owned()
    } else {
        format!("there is {}", alike.join(", "))
    };
    Err(super::Failure::message(
        ExitCode::Usage,
        format!("--unit {unit}: nothing was ever stored about a unit of this name; {hint}"),
    ))
}

/// Says on standard error if the last sample is old: times count from it.
pub(super) fn tell_age(history: &History, now: i64, command: &str) -> Result<(), StoreError> {
    if let Some((_, last)) = history.span()?
        && now - last > STALE
    {
        eprintln!(
            "{command}: the last sample is of {}: does the agent run (systemctl status memmon)?",
            time(last)
        );
    }
    Ok(())
}

pub(super) fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// Wall time, seconds since 1970.
pub(super) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, seconds)
}

pub(super) fn time(at: i64) -> String {
    rfc3339(0, i128::from(at) * 1_000_000_000)
}

fn document(args: &Args, shown: &Shown) -> Value {
    let stamp = |mut value: Value| {
        if let Some(at) = value["at"].as_i64() {
            value["at"] = json!(time(at));
        }
        value
    };
    let rows = |rows: Vec<Value>| -> Vec<Value> { rows.into_iter().map(stamp).collect() };
    let value = |row: &dyn Fn() -> Value| row();
    json!({
        "schema": "memmon.history/1",
        "from": time(shown.from),
        "to": time(shown.to),
        "unit": args.unit,
        "units": shown.units,
        "series": rows(shown.series.iter().map(|point| value(&|| json!(point))).collect()),
        "events": rows(shown.events.iter().map(|event| value(&|| json!(event))).collect()),
    })
}

fn human(args: &Args, shown: &Shown) -> String {
    let bytes = |bytes: i64| table::bytes(&json!(u64::try_from(bytes).unwrap_or(0)));
    let stalled = |us: i64| format!("{} s", us / 1_000_000);
    let mut text = String::new();
    if !shown.units.is_empty() {
        let _ = writeln!(
            text,
            "{:<40} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}",
            "UNIT", "MEMORY", "PEAK", "SWAP", "PEAK", "SWAPPED OUT", "STALLED"
        );
        for unit in &shown.units {
            let _ = writeln!(
                text,
                "{:<40} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}",
                unit.unit,
                bytes(unit.memory_bytes),
                bytes(unit.memory_peak_bytes),
                bytes(unit.swap_bytes),
                bytes(unit.swap_peak_bytes),
                unit.swapped_out_pages,
                stalled(unit.stalled_us)
            );
        }
    }
    if !shown.series.is_empty() {
        let _ = writeln!(
            text,
            "{:<27} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}",
            "FROM", "MEMORY", "PEAK", "LIMIT", "SWAP", "SWAPPED OUT", "STALLED"
        );
        for row in &shown.series {
            let _ = writeln!(
                text,
                "{:<27} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}",
                time(row.at),
                bytes(row.memory_bytes),
                bytes(row.memory_peak_bytes),
                row.memory_limit_bytes.map_or_else(|| "none".to_owned(), bytes),
                bytes(row.swap_bytes),
                row.swapped_out_pages,
                stalled(row.stalled_us)
            );
        }
    }
    if shown.units.is_empty() && shown.series.is_empty() && args.kind.is_none() {
        let _ = writeln!(
            text,
            "nothing was stored about {} in that time",
            args.unit.as_deref().unwrap_or("any unit")
        );
    }
    if !shown.events.is_empty() {
        let _ = writeln!(text, "\n{:<27} {:<10} {:<28} WHAT", "WHEN", "KIND", "UNIT");
        for event in &shown.events {
            let unit = event.unit.as_deref().unwrap_or("-");
            let _ = writeln!(
                text,
                "{:<27} {:<10} {unit:<28} {}",
                time(event.at),
                event.kind,
                event.text
            );
        }
    }
    debug_assert!(
        args.kind
            .as_deref()
            .is_none_or(|kind| EventKind::ALL.iter().any(|known| known.as_str() == kind))
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{Event, Keep, Sample, Store, Tick},
        testing::schema::assert_valid,
    };

    #[test]
    fn documents_are_what_their_schema_says() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("history.db");
        let keep = Keep {
            seconds: 3600,
            bytes: 8 << 20,
        };
        let mut store = Store::open(&path, keep).expect("it opens");
        let sample = |unit: &str, limit| Sample {
            unit: unit.to_owned(),
            memory: 7,
            memory_limit: limit,
            ..Sample::default()
        };
        let tick = Tick {
            at: 1000,
            samples: vec![sample(HOST, Some(9)), sample("a.service", None)],
            swap_total: None,
        };
        store.tick(&tick).expect("stored");
        for (kind, unit, data) in [
            (EventKind::Decision, None, Some(json!({ "now": 1 }))),
            (EventKind::Alarm, Some("a.service"), None),
        ] {
            let event = Event {
                at: 1001,
                kind,
                unit: unit.map(str::to_owned),
                text: "something".to_owned(),
                data,
            };
            store.event(&event).expect("stored");
        }
        let mut args = Args {
            unit: None,
            since: Duration::from_secs(60),
            until: None,
            kind: None,
            limit: 9,
            json: true,
            database: path,
        };
        for (unit, units, rows) in [(None, 2, 0), (Some("a.service"), 0, 1)] {
            args.unit = unit.map(str::to_owned);
            let shown = read(&args, 0, 2000).expect("read");
            assert_eq!((shown.units.len(), shown.series.len()), (units, rows));
            assert_valid("memmon.history/1", &document(&args, &shown));
            assert!(human(&args, &shown).contains("something"));
        }
    }
}
