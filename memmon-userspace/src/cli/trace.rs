//! `memmon trace`: swap-outs as they happen.

use std::{num::NonZeroU64, time::Duration};

use super::{
    CliResult, ExitCode, Failure,
    args::{self, ConfigArgs},
    privilege,
};
use crate::config::Pattern;

/// Arguments of `memmon trace`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only units whose name matches GLOB; may be given more than once
    #[arg(long, value_name = "GLOB")]
    pub unit: Vec<Pattern>,
    /// Only units that the configuration calls critical
    #[arg(long)]
    pub critical: bool,
    /// Name process, address and mapping of each page as well
    #[arg(long)]
    pub pages: bool,
    /// One JSON object per line (memmon.swap_out/1, at the end memmon.trace_end/1)
    #[arg(long)]
    pub json: bool,
    /// End after D: seconds, or with a unit as in 10m
    #[arg(long, value_name = "D", value_parser = args::span)]
    pub duration: Option<Duration>,
    /// End after N lines
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// Which configuration to use.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Traces until the given end, or until interrupted.
///
/// # Errors
/// If the configuration is bad, a capability is missing, or the kernel cannot do it.
pub fn main(args: &Args) -> CliResult {
    let _config = args.config.load()?;
    privilege::require("memmon trace", privilege::TRACE)?;
    Err(Failure::message(
        ExitCode::Unsupported,
        "memmon trace: this build cannot trace",
    ))
}
