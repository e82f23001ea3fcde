//! `memmon config`: validates and shows the configuration.

pub mod units;

use std::path::PathBuf;

use clap::Subcommand;

use super::{CliResult, ExitCode, args::ConfigArgs, output};
use crate::config::{Config, Layers};

/// Arguments of `memmon config`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do with the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Validate the configuration, and say which files it is made of
    Check {
        /// Validate FILE in the place of the files in /run/memmon and /etc/memmon
        file: Option<PathBuf>,
    },
    /// Derive the memory section of configured units from their priority and what they were seen to use: shows a
    /// diff; installs it as drop-ins with --apply
    Units(units::Args),
    /// Print the effective configuration, each value with the file it comes from
    Show {
        /// Which configuration to use.
        #[command(flatten)]
        config: ConfigArgs,
        /// One JSON object (memmon.config/1)
        #[arg(long)]
        json: bool,
    },
}

/// Runs `memmon config`.
///
/// # Errors
/// If the configuration is bad: file, line and column of everything that is wrong.
pub fn main(args: &Args) -> CliResult {
    match &args.command {
        Command::Check { file } => {
            let config = Config::load(&Layers::system().with_file(file.clone()))?;
            output::print(&verdict(&config))?;
        }
        Command::Units(args) => return units::main(args),
        Command::Show { config, json: true } => output::print_json(&config.load()?.to_json())?,
        Command::Show { config, json: false } => output::print(&config.load()?.to_toml())?,
    }
    Ok(ExitCode::Done)
}

fn verdict(config: &Config) -> String {
    let notes = config.notes().into_iter().map(|note| format!("note: {note}\n"));
    let files = config.files().iter().map(|file| format!("valid: {file}\n"));
    notes.chain(files).collect()
}
