//! memmon's build, test and VM commands: `cargo xtask COMMAND`.

mod bench;
mod bpf_object;
mod bpf_toolchain;
mod build;
mod check;
mod clients;
mod live;
mod package;
mod run;
mod setup;
mod test;
mod vm;
mod web;

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
    /// Install what building and testing need; what is there stays.
    Setup,
    /// Test everything: format, lints, rules, licences, pure tests, this kernel, the page in a browser,
    /// virtual machines.
    Test {
        /// Leave a part out; it is counted and named as skipped.
        #[arg(long, value_name = "PART")]
        skip: Vec<test::Part>,
    },
    /// Build the eBPF object, the web page and the agent.
    Build {
        /// Without debug assertions, optimised.
        #[arg(long)]
        release: bool,
    },
    /// Check the layering and purity of the stages, manifests, format, lints and licences.
    Check {
        /// Only the rules on sources and manifests, which takes a second.
        #[arg(long)]
        rules: bool,
    },
    /// Run the agent on this machine, or, where it could do nothing, show it in a virtual one.
    Run,
    /// Build the Debian package.
    Package,
    /// Run the tests that need this machine's kernel, as root.
    Live {
        /// Only cases whose name contains one of these.
        cases: Vec<String>,
    },
    /// Test the client libraries.
    Clients,
    /// Try the web page in a headless Chromium.
    Web,
    /// Boot Debian's kernels with a real systemd and run the cases there.
    Vm(vm::VmArgs),
    /// Measure what memmon costs on this machine, as root.
    Bench {
        /// How often each thing is measured, in turns.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Keep the results in docs/benchmarks.md.
        #[arg(long, conflicts_with = "only")]
        record: bool,
        /// Only what has one of these in its name: "event", "second", "attach", "map", "agent".
        only: Vec<String>,
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
        Task::Test { skip } => test::run(&skip)?,
        Task::Setup => setup::ensure(setup::Purpose::Test)?,
        Task::Build { release } => {
            let agent = build::agent(release)?;
            println!("{}", agent.display());
        }
        Task::Check { rules: true } => check::rules()?,
        Task::Check { rules: false } => check::all()?,
        Task::Package => package::main()?,
        Task::Run => run::main()?,
        Task::Live { cases } => live::run(&cases)?,
        Task::Clients => clients::test()?,
        Task::Web => web::test()?,
        Task::Vm(args) => vm::main(args)?,
        Task::Bench { rounds, record, only } => bench::run(rounds, record, &only)?,
    }
    Ok(())
}
