//! `memmon run`: the agent.

use std::time::Duration;

use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::{
    CliResult, ExitCode,
    args::{self, ConfigArgs},
    failure, output, privilege,
};
use crate::runtime::agent::{self, AgentOptions};

const EXAMPLES: &str = "\
EXAMPLES
  memmon run                                  what memmon.service does
  memmon run --dry-run                        say everything, change nothing
  memmon run --config ./memmon.toml --dry-run  try a configuration";

/// Arguments of `memmon run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which configuration to use.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Decide and log everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Time between two looks at alarms and leases that are on, in seconds; critical swap-outs are acted
    /// upon at once
    #[arg(long, value_name = "S", default_value = "5", value_parser = args::span)]
    pub interval: Duration,
}

/// Runs the agent until it is told to end.
///
/// # Errors
/// If the configuration is bad, a capability is missing, or the agent fails.
pub fn main(args: &Args) -> CliResult {
    let config = args.config.load()?;
    privilege::require("memmon run", privilege::RUN)?;
    log_to_the_right_place(config.log.level.into());
    let options = AgentOptions {
        layers: args.config.layers(),
        dry_run: args.dry_run,
        interval: args.interval,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime
        .block_on(agent::run(options, config))
        .map_err(failure::of_agent)?;
    Ok(ExitCode::Done)
}

/// To the journal with its fields if the service manager connected us to it, else to stderr.
fn log_to_the_right_place(level: LevelFilter) {
    let registry = tracing_subscriber::registry().with(level);
    let under_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    match tracing_journald::layer().ok().filter(|_| under_journal) {
        Some(journal) => registry
            .with(journal.with_field_prefix(Some("MEMMON".to_owned())))
            .init(),
        None => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(output::colours(&std::io::stderr()))
                .with_target(false)
                .without_time();
            registry.with(lines).init();
        }
    }
}
