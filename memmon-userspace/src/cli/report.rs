//! `memmon report`: the situation, once.

use std::path::Path;

use serde_json::Value;

use super::{CliResult, ExitCode, Failure, OrExit as _, args::ConfigArgs, ask, output, table};
use crate::{
    action,
    config::Config,
    runtime::report::{self, ReportError},
};

/// Units that people are shown; the rest is in the JSON.
const SHOWN_BLAME: usize = 10;

const EXAMPLES: &str = "\
EXAMPLES
  memmon report                        the situation, who uses memory, what is proposed
  memmon report --dry-run              what the running agent would do now, changing nothing
  memmon report --apply                have it do that
  memmon report --json | jq '.units[] | select(.critical_pages_swapped > 0)'
  memmon report --config new.toml      the same with another configuration, without the agent";

/// Arguments of `memmon report`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// One JSON object (memmon.report/1)
    #[arg(long)]
    pub json: bool,
    /// Have the running agent carry the strategies out
    #[arg(long)]
    pub apply: bool,
    /// Have the running agent say what it would do
    #[arg(long, conflicts_with = "apply")]
    pub dry_run: bool,
    /// Which configuration to use, without asking the agent.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Prints the report: the running agent's, or, without one or with a configuration of its own, what this process
/// can find out.
///
/// # Errors
/// If the configuration is bad, or the situation cannot be read; with `--apply` and `--dry-run` if no agent runs,
/// or it refuses.
pub fn main(args: &Args) -> CliResult {
    let config = args.config.load()?;
    let document = if args.apply || args.dry_run {
        ask::apply(args.dry_run).map_err(|error| {
            error.failure("memmon report --apply and --dry-run have the agent do it, which owns the limits")
        })?
    } else if args.config.config.is_some() {
        alone(&config)?
    } else {
        match ask::report() {
            Ok(document) => document,
            Err(error) => {
                if !error.is_absent() {
                    eprintln!("memmon report: without the agent: {error}");
                }
                alone(&config)?
            }
        }
    };
    if args.json {
        output::print_json(&document)?;
    } else {
        output::print(&human(&document))?;
    }
    Ok(ExitCode::Done)
}

fn alone(config: &Config) -> Result<Value, Failure> {
    let leases = action::recorded(Path::new("/run/memmon"))
        .map_err(|error| eprintln!("memmon report: without leases: {error}"))
        .ok();
    let document = match report::report(config, leases.as_deref()) {
        Err(error @ ReportError::Tree(_)) => return Err(error).or_exit(ExitCode::Unsupported),
        other => other?,
    };
    Ok(serde_json::to_value(&document)?)
}

fn human(document: &Value) -> String {
    let mut text = format!(
        "{}\n\n{:<40} {:<8} {:>9} {:>9} {:>9} {:>11}  LEASES\n",
        table::system(&document["system"]),
        "UNIT",
        "PRIORITY",
        "MEMORY",
        "SWAP",
        "SWAP MAX",
        "SWAPPED OUT",
    );
    let items = |key: &str| document[key].as_array().into_iter().flatten();
    items("units").for_each(|unit| text += &unit_line(unit));
    let section = |title: &str, lines: Vec<String>| match lines.as_slice() {
        [] => String::new(),
        lines => format!("\n{title}\n{}", lines.concat()),
    };
    text += &section(
        "WHO PUSHED OUT WHOSE PAGES",
        items("blame").take(SHOWN_BLAME).map(blame_line).collect(),
    );
    let regions = items("regions").map(|region| format!("{}\n", table::region(region)));
    text += &section("TAGGED REGIONS", regions.collect());
    // Units that do not run out are the rule; what becomes of the host is always said.
    let told = items("forecast").filter(|made| made["unit"].is_null() || made["outcome"] == "exhausts");
    text += &section("WHEN IT WILL BE FULL", told.map(table::forecast).collect());
    text += &section("ALARMS", items("alarms").map(alarm_line).collect());
    text += &section("STRATEGIES", items("strategies").map(strategy_line).collect());
    if document["agent"].is_null() {
        text += "\nSwapped-out pages, stalls and blame are counted by the agent, and none is running: n/a\n";
    }
    text
}

fn unit_line(unit: &Value) -> String {
    let leases = unit["leases"].as_array().into_iter().flatten();
    let leases: Vec<&str> = leases.map(|lease| table::text(&lease["property"])).collect();
    format!(
        "{:<40} {:<8} {:>9} {:>9} {:>9} {:>11}  {}\n",
        table::text(&unit["unit"]),
        table::text(&unit["priority"]),
        table::bytes(&unit["memory_bytes"]),
        table::bytes(&unit["swap_bytes"]),
        table::limit(&unit["limits"]["swap_max"]),
        table::count(&unit["swapout_pages"]),
        leases.join(" ")
    )
}

fn blame_line(blame: &Value) -> String {
    let reclaimer = blame["reclaimer"].as_str().unwrap_or("-");
    format!(
        "{:>11} pages of {} by {reclaimer} ({})\n",
        table::count(&blame["pages"]),
        table::text(&blame["victim"]),
        table::text(&blame["kind"]),
    )
}

fn alarm_line(alarm: &Value) -> String {
    format!(
        "{} {}: {}\n",
        table::text(&alarm["severity"]),
        table::text(&alarm["unit"]),
        table::text(&alarm["reason"])
    )
}

fn strategy_line(strategy: &Value) -> String {
    let unit = strategy["unit"].as_str().map(|unit| format!(" {unit}"));
    let amount = strategy["amount"].as_u64();
    let amount = amount.map(|_| format!(" {}", table::bytes(&strategy["amount"])));
    let error = strategy["error"].as_str().map(|why| format!("; failed: {why}"));
    format!(
        "{}{}{}{}: {}{}\n",
        table::text(&strategy["action"]),
        unit.unwrap_or_default(),
        amount.unwrap_or_default(),
        if strategy["applied"] == true {
            " (applied)"
        } else {
            ""
        },
        table::text(&strategy["reason"]),
        error.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_units_blame_regions_and_strategies() {
        let example = include_str!("../../../packaging/schemas/examples/memmon.report.1.json");
        let mut document: Value = serde_json::from_str(example).expect("JSON");
        let text = human(&document);
        for part in [
            "RAM used 83 %, swap used 12 %, situation high",
            "omnimind.service                         critical     4 GiB",
            "2 pages of omnimind.service by backup.service (direct)",
            "omnimind.service embeddings, pid 412: 512 pages, 2 swapped out so far",
            "reclaim_cache backup.service 256 MiB: its file cache",
            "omnimind.service MemoryMax                   4 GiB     8 GiB  in 12–18 min",
            "warning omnimind.service: omnimind.service reaches MemoryMax in 12–18 min",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("none is running"));
        document["agent"] = Value::Null;
        document["blame"] = Value::Null;
        let text = human(&document);
        assert!(
            text.contains("none is running") && !text.contains("WHO PUSHED"),
            "{text}"
        );
    }
}
