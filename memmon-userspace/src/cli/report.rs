//! `memmon report`: the situation, once.

use std::path::Path;

use super::{CliResult, ExitCode, Failure, OrExit as _, args::ConfigArgs, output};
use crate::{
    action,
    decode::Limit,
    export::json::report::{ReportDocument, UnitField},
    runtime::report::{self, ReportError},
};

/// Arguments of `memmon report`.
#[derive(Clone, Debug, clap::Args)]
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
    /// Which configuration to use.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Prints the report.
///
/// # Errors
/// If the configuration is bad, or the situation cannot be read.
pub fn main(args: &Args) -> CliResult {
    let config = args.config.load()?;
    if args.apply || args.dry_run {
        return Err(Failure::message(
            ExitCode::Unsupported,
            "memmon report --apply and --dry-run ask the running agent, which this version cannot do yet; \
             the agent (memmon.service) acts by itself when a page of a critical unit goes to swap",
        ));
    }
    let leases = action::recorded(Path::new("/run/memmon"))
        .map_err(|error| eprintln!("memmon report: without leases: {error}"))
        .ok();
    let document = match report::report(&config, leases.as_deref()) {
        Err(error @ ReportError::Tree(_)) => return Err(error).or_exit(ExitCode::Unsupported),
        other => other?,
    };
    if args.json {
        output::print_line(&serde_json::to_string(&document)?)?;
    } else {
        output::print(&human(&document))?;
    }
    Ok(ExitCode::Done)
}

fn human(document: &ReportDocument) -> String {
    let system = &document.system;
    let mut text = format!(
        "RAM used {:.0} %, swap used {}, situation {}{}\n\n{:<40} {:<8} {:>9} {:>9} {:>9}  LEASES\n",
        system.ram_used * 100.0,
        system.swap_used.map_or_else(
            || "none set up".to_owned(),
            |used| format!("{:.0} %", used * 100.0)
        ),
        system.situation.as_str(),
        if system.swap_high { ", swap high" } else { "" },
        "UNIT",
        "PRIORITY",
        "MEMORY",
        "SWAP",
        "SWAP MAX",
    );
    for unit in &document.units {
        text.push_str(&line(unit));
    }
    text.push_str(
        "\nCounters of swapped pages, stalls and blame need the running agent's D-Bus interface: n/a\n",
    );
    text
}

fn line(unit: &UnitField) -> String {
    let leases: Vec<&str> = unit.leases.iter().flatten().map(|lease| lease.property).collect();
    format!(
        "{:<40} {:<8} {:>9} {:>9} {:>9}  {}\n",
        unit.unit,
        unit.priority,
        unit.memory_bytes.map_or_else(|| "n/a".to_owned(), size),
        unit.swap_bytes.map_or_else(|| "n/a".to_owned(), size),
        match unit.limits.swap_max {
            None => "n/a".to_owned(),
            Some(Limit::Max) => "max".to_owned(),
            Some(Limit::Bytes(bytes)) => size(bytes),
        },
        leases.join(" ")
    )
}

/// Bytes in the largest unit that leaves a whole part.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return format!("{value:.0} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}
