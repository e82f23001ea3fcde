//! `memmon completions`: scripts for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, CliResult, ExitCode, output};

/// Arguments of `memmon completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which shell
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If standard output cannot be written to.
pub fn main(args: &Args) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "memmon", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Done)
}
