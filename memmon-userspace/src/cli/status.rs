//! `memmon status`: how the running agent is, and what it is doing.

use serde_json::{Value, json};

use super::{CliResult, ExitCode, ask, output, table};

const EXAMPLES: &str = "\
EXAMPLES
  memmon status           alarms that are on, limits that will be put back, tagged regions
  memmon status --json | jq '.alarms[].reason'";

/// Arguments of `memmon status`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// One JSON object (memmon.status/1)
    #[arg(long)]
    pub json: bool,
}

/// Prints the status.
///
/// # Errors
/// If no agent is running, or it does not answer.
pub fn main(args: &Args) -> CliResult {
    let report = ask::report().map_err(|error| error.failure("memmon status"))?;
    let status = status(&report);
    if args.json {
        output::print_json(&status)?;
    } else {
        output::print(&human(&status))?;
    }
    Ok(ExitCode::Done)
}

/// `memmon.status/1`, from the report.
fn status(report: &Value) -> Value {
    let units = report["units"].as_array().into_iter().flatten();
    let leases: Vec<Value> = units
        .flat_map(|unit| {
            let leases = unit["leases"].as_array().into_iter().flatten();
            leases.map(|lease| {
                let mut lease = lease.clone();
                lease["unit"] = unit["unit"].clone();
                lease
            })
        })
        .collect();
    json!({
        "schema": "memmon.status/1",
        "agent": report["agent"],
        "system": report["system"],
        "attribution": report["attribution"],
        "alarms": report["alarms"],
        "leases": leases,
        "regions": report["regions"],
    })
}

fn human(status: &Value) -> String {
    let agent = &status["agent"];
    let mut text = format!(
        "memmon {} since {}{}, attribution {}\n{}\n",
        table::text(&agent["version"]),
        table::text(&agent["since"]),
        if agent["dry_run"] == true { ", dry run" } else { "" },
        table::text(&status["attribution"]),
        table::system(&status["system"]),
    );
    for reason in agent["degraded"].as_array().into_iter().flatten() {
        text += &format!("degraded: {}\n", table::text(reason));
    }
    let lost = agent["events_lost"].as_object().into_iter().flatten();
    for (what, count) in lost.filter(|(_, count)| count.as_u64() != Some(0)) {
        text += &format!("lost: {count} {}\n", what.replace('_', " "));
    }
    text += &section("alarms", &status["alarms"], |alarm| {
        let region = alarm["region"]
            .as_str()
            .map(|region| format!(", region {region}"));
        let pages = (alarm["kind"] == "swap_out")
            .then(|| format!(" ({} pages{})", alarm["pages"], region.unwrap_or_default()));
        format!(
            "{} {} since {}: {}{}",
            table::text(&alarm["severity"]),
            table::text(&alarm["unit"]),
            table::text(&alarm["since"]),
            table::text(&alarm["reason"]),
            pages.unwrap_or_default(),
        )
    });
    text += &section("limits that memmon will put back", &status["leases"], |lease| {
        format!(
            "{} {} {} -> {} until {}: {}",
            table::text(&lease["unit"]),
            table::text(&lease["property"]),
            table::limit(&lease["old"]),
            table::limit(&lease["new"]),
            table::text(&lease["deadline"]),
            table::text(&lease["reason"]),
        )
    });
    text += &section("tagged regions", &status["regions"], table::region);
    text
}

fn section(title: &str, items: &Value, line: impl Fn(&Value) -> String) -> String {
    let lines: Vec<String> = items
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| format!("  {}\n", line(item)))
        .collect();
    if lines.is_empty() {
        format!("{title}: none\n")
    } else {
        format!("{title}:\n{}", lines.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::schema::assert_valid;

    fn example() -> Value {
        let text = include_str!("../../../packaging/schemas/examples/memmon.report.1.json");
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn it_is_what_its_schema_says() {
        assert_valid("memmon.status/1", &status(&example()));
    }

    #[test]
    fn people_see_alarms_leases_and_regions() {
        let text = human(&status(&example()));
        for part in [
            "memmon 0.1.0",
            "attribution exact",
            "critical omnimind.service",
            "region embeddings",
            "MemorySwapMax max -> 0 B",
            "pid 412",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let mut quiet = example();
        quiet["alarms"] = json!([]);
        assert!(human(&status(&quiet)).contains("alarms: none"));
    }
}
