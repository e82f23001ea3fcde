//! The command line: one subcommand per file; here only which there are and how they end.

pub mod adopt;
pub mod args;
pub mod ask;
pub mod check;
pub mod completions;
pub mod config;
pub mod exit;
pub mod failure;
pub mod forecast;
pub mod history;
pub mod man;
pub mod output;
pub mod privilege;
pub mod record;
pub mod report;
pub mod run;
pub mod simulate;
pub mod status;
pub mod table;
pub mod top;
pub mod trace;

use clap::{Parser, Subcommand};

pub use exit::{CliResult, ExitCode, Failure, OrExit};

const AFTER_HELP: &str = "\
EXIT STATUS
  0  done
  1  failed at run time
  2  bad usage or configuration
  3  this kernel or host cannot do it
  4  permission is missing
  5  works, but degraded (check only)

FILES
  /usr/lib/memmon/memmon.toml       the vendor's configuration
  /run/memmon/memmon.toml.d/*.toml  configuration until the next boot
  /etc/memmon/memmon.toml           the administrator's configuration
  /etc/memmon/memmon.toml.d/*.toml  the same in parts, read by name
  /run/memmon/leases.json           limits that memmon changed and will put back
  /var/lib/memmon/history.db        what was stored

ENVIRONMENT
  NO_COLOR  if set and not empty, output has no colours";

/// Keeps memory that somebody declared critical out of swap.
///
/// Names the owner of every page that is swapped out. When it is a page of a critical unit, raises an alarm,
/// stops the unit from being swapped any further, and puts every limit back when the danger is over.
#[derive(Debug, Parser)]
#[command(name = "memmon", version, after_long_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground (this is what memmon.service does)
    Run(run::Args),
    /// Show swap-outs as they happen; needs no running agent
    Trace(trace::Args),
    /// Show the situation, and what is proposed to be done about it, once
    Report(report::Args),
    /// Show how the running agent is, and what it is doing
    Status(status::Args),
    /// Show units, swap-outs, culprits and alarms live, in the terminal
    Top(top::Args),
    /// Show what this kernel and systemd let memmon do, with the reason for each "no"
    Check(check::Args),
    /// Validate or show the configuration
    Config(config::Args),
    /// Put running processes into a scope of their own, so that limits can apply to them
    Adopt(adopt::Args),
    /// Show what was stored: units over time, alarms, decisions and what came of them
    History(history::Args),
    /// Show when RAM, swap and units' limits will be exhausted, or that there is no trend
    Forecast(forecast::Args),
    /// Write down what decisions rest on, for simulate
    Record(record::Args),
    /// Try another configuration on a recording: what would be done, beside what was
    Simulate(simulate::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page
    Man(man::Args),
    /// The child of the self-test
    #[command(name = crate::runtime::self_test::CHILD, hide = true)]
    SelfTestChild {
        /// Pages to have paged out.
        pages: usize,
    },
}

/// Parses the command line and runs the command.
pub fn main() -> std::process::ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => dispatch(&cli.command),
        // Also --help and --version. Bad usage is 2 in clap as it is in ours.
        Err(error) => error.exit(),
    };
    exit::finish(result).into()
}

fn dispatch(command: &Command) -> CliResult {
    match command {
        Command::Run(args) => run::main(args),
        Command::Trace(args) => trace::main(args),
        Command::Report(args) => report::main(args),
        Command::Status(args) => status::main(args),
        Command::Top(args) => top::main(args),
        Command::Check(args) => check::main(args),
        Command::Config(args) => config::main(args),
        Command::Adopt(args) => adopt::main(args),
        Command::History(args) => history::main(args),
        Command::Forecast(args) => forecast::main(args),
        Command::Record(args) => record::main(args),
        Command::Simulate(args) => simulate::main(args),
        Command::Completions(args) => completions::main(args),
        Command::Man(args) => man::main(args),
        Command::SelfTestChild { pages } => {
            crate::runtime::self_test::child(*pages)?;
            Ok(ExitCode::Done)
        }
    }
}

#[cfg(test)]
mod tests;
