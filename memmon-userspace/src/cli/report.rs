//! `memmon report`: the situation, once.

use super::{CliResult, ExitCode, Failure, args::ConfigArgs};

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
    let _config = args.config.load()?;
    Err(Failure::message(
        ExitCode::Unsupported,
        "memmon report: this build cannot report",
    ))
}
