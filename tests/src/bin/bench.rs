//! `cargo xtask bench`: what memmon costs on this machine. Prints Markdown on standard output.

use std::{env, io, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use memmon_tests::{
    bench,
    host::interrupt,
    live::context::{self, Context},
    live::worker::serve,
};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some("workload") => serve::serve(io::stdin().lock(), io::stdout().lock()),
        rounds => run(rounds, words.get(1..).unwrap_or_default()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: Option<&str>, wanted: &[String]) -> Result<()> {
    let rounds = rounds.map_or(Ok(5), str::parse).context("the number of rounds")?;
    ensure!(rounds > 0, "no rounds, no medians");
    interrupt::install().context("installing signal handlers")?;
    let context = Context::new(context::memmon_beside_us()?)?;
    print!("{}", bench::run(&context, rounds, wanted)?);
    Ok(())
}
