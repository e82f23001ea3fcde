//! `memmon simulate`: tries another policy on a recording.

use std::{fmt::Write as _, fs::File, io::BufReader, path::PathBuf};

use anyhow::Context as _;

use super::{CliResult, ExitCode, output};
use crate::{
    config::{Config, Layers},
    policy::{HostDecision, Target},
    runtime::replay::{self, Compared},
};

const EXAMPLES: &str = "\
EXAMPLES
  memmon simulate --policy new.toml load.jsonl        what would be done differently
  memmon simulate --policy new.toml load.jsonl --all  every moment
  memmon simulate load.jsonl --json                   the configuration in force, for machines";

/// Arguments of `memmon simulate`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A recording, made with memmon record
    pub recording: PathBuf,
    /// The configuration to try, in the place of the files in /run/memmon and /etc/memmon
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Every moment, not only those that differ
    #[arg(long)]
    pub all: bool,
    /// One JSON object per moment (memmon.simulated/1)
    #[arg(long)]
    pub json: bool,
}

/// Prints both policies side by side.
///
/// # Errors
/// If the recording or the policy cannot be read.
pub fn main(args: &Args) -> CliResult {
    let config = Config::load(&Layers::system().with_file(args.policy.clone()))?;
    let name = args.recording.display();
    let file = File::open(&args.recording).with_context(|| format!("opening {name}"))?;
    let moments = replay::read(BufReader::new(file)).with_context(|| format!("reading {name}"))?;
    let compared = replay::simulate(&config, &moments);
    let shown = compared.iter().filter(|moment| args.all || !moment.same);
    let mut text = String::new();
    for moment in shown {
        if args.json {
            let _ = writeln!(text, "{}", moment.to_json());
        } else {
            text.push_str(&human(moment));
        }
    }
    if !args.json {
        let differ = compared.iter().filter(|moment| !moment.same).count();
        let _ = writeln!(text, "{differ} of {} moments differ", compared.len());
    }
    output::print(&text)?;
    Ok(ExitCode::Done)
}

fn human(moment: &Compared) -> String {
    let mut text = format!(
        "at {:.0} s, RAM {:.0} % used{}\n",
        moment.at_seconds,
        moment.ram_used * 100.0,
        if moment.same { ", the same" } else { "" }
    );
    let recorded = moment.recorded.as_ref().map_or_else(Vec::new, steps);
    let simulated = steps(&moment.simulated);
    let _ = writeln!(text, "  {:<52} WOULD BE DONE", "DONE");
    for index in 0..recorded.len().max(simulated.len()) {
        let step = |steps: &[String]| steps.get(index).cloned().unwrap_or_default();
        let _ = writeln!(text, "  {:<52} {}", step(&recorded), step(&simulated));
    }
    text
}

/// One line per step; advice is left out.
fn steps(decision: &HostDecision) -> Vec<String> {
    let acting = decision
        .strategies
        .iter()
        .filter(|strategy| strategy.target != Target::Advice);
    let mut lines: Vec<String> = acting
        .map(|strategy| {
            let amount = strategy
                .amount
                .map(|bytes| format!(" {:.1} MiB", bytes as f64 / f64::from(1 << 20)));
            format!(
                "{} {}{}",
                strategy.action.as_str(),
                strategy.unit.as_deref().unwrap_or("-"),
                amount.unwrap_or_default()
            )
        })
        .collect();
    if lines.is_empty() {
        let situation = decision.situation.ram.as_str();
        lines.push(format!("nothing (situation {situation})"));
    }
    lines
}
