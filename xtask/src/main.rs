//! memmon's build, test and VM commands: `cargo xtask COMMAND`.

mod bpf_toolchain;
mod build;
mod live;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and demonstrates memmon")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the eBPF object and the agent.
    Build {
        /// Without debug assertions, optimised.
        #[arg(long)]
        release: bool,
    },
    /// Run the tests that need this machine's kernel, as root.
    Live {
        /// Only cases whose name contains one of these.
        cases: Vec<String>,
    },
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that Debug would add: the chain of causes is what a person needs.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Build { release } => {
            let agent = build::agent(release)?;
            println!("{}", agent.display());
        }
        Task::Live { cases } => live::run(&cases)?,
    }
    Ok(())
}
