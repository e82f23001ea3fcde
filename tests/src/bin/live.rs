//! `cargo xtask live`: memmon against the counters of this machine's kernel.

use std::{env, io, process::ExitCode};

use anyhow::{Context as _, Result};
use memmon_tests::{
    case,
    host::interrupt,
    live::worker::serve,
    live::{
        self,
        context::{self, Context},
    },
};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        // This program is its own workload.
        Some("workload") => serve::serve(io::stdin().lock(), io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Some("--list") => {
            for case in live::cases() {
                println!("{}", case.name);
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => run(&words),
    };
    done.unwrap_or_else(|error| {
        eprintln!("live: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs the cases whose name contains one of `wanted`; all if there is none.
fn run(wanted: &[String]) -> Result<ExitCode> {
    interrupt::install().context("installing signal handlers")?;
    let mut context = Context::new(context::memmon_beside_us()?)?;
    let chosen = live::cases()
        .filter(|case| wanted.is_empty() || wanted.iter().any(|word| case.name.contains(word.as_str())));
    let summary = case::run_all(chosen, &mut context, interrupt::requested, &mut io::stdout())?;
    Ok(summary.into())
}
