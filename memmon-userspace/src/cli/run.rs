//! `memmon run`: the agent.

use std::time::Duration;

use super::{
    CliResult, ExitCode, Failure,
    args::{self, ConfigArgs},
    privilege,
};

/// Arguments of `memmon run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which configuration to use.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Decide and log everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Time between two readings of the counters, in seconds; critical swap-outs are acted upon at once
    #[arg(long, value_name = "S", default_value = "5", value_parser = args::span)]
    pub interval: Duration,
}

/// Runs the agent until it is told to end.
///
/// # Errors
/// If the configuration is bad, a capability is missing, or the agent fails.
pub fn main(args: &Args) -> CliResult {
    let _config = args.config.load()?;
    privilege::require("memmon run", privilege::RUN)?;
    Err(Failure::message(
        ExitCode::Unsupported,
        "memmon run: this build has no agent",
    ))
}
