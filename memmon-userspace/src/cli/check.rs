//! `memmon check`: what this host lets memmon do.

use super::{CliResult, ExitCode, Failure, privilege};

/// Arguments of `memmon check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Page out known pages in a cgroup of memmon's own and compare what is counted
    #[arg(long)]
    pub self_test: bool,
    /// One JSON object (memmon.check/1)
    #[arg(long)]
    pub json: bool,
}

/// Prints what works and what does not.
///
/// # Errors
/// If a capability is missing for the self-test, or the kernel cannot be asked.
pub fn main(args: &Args) -> CliResult {
    if args.self_test {
        privilege::require("memmon check --self-test", privilege::SELF_TEST)?;
    }
    Err(Failure::message(
        ExitCode::Unsupported,
        "memmon check: this build cannot check",
    ))
}
