//! `cargo xtask bench`: what memmon costs here; its figures are kept in `docs/benchmarks.md`.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::build;

const BEGIN: &str = "<!-- bench:begin -->\n";
const END: &str = "<!-- bench:end -->";

/// Builds for release, measures, prints, and with `record` replaces the last results in the documentation.
///
/// # Errors
/// If something does not build, cannot be measured, or the documentation has no place for it.
pub(crate) fn run(rounds: usize, record: bool, wanted: &[String]) -> Result<()> {
    let memmon = build::agent(true)?;
    let bench = build::test_program("bench", true)?;
    let output = Command::new(&bench)
        .arg(rounds.to_string())
        .args(wanted)
        .env("MEMMON", memmon)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", bench.display()))?;
    if !output.status.success() {
        bail!("the benchmark ended with {}", output.status);
    }
    std::io::stdout().write_all(&output.stdout)?;
    if record {
        let path = build::root().join("docs/benchmarks.md");
        let page = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let page = replace(&page, &String::from_utf8(output.stdout)?).with_context(|| {
            format!(
                "{}: no place between {} and {END}",
                path.display(),
                BEGIN.trim_end()
            )
        })?;
        fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("xtask: recorded in {}", path.display());
    }
    Ok(())
}

/// The page with `results` between the marks; `None` if it has no marks.
fn replace(page: &str, results: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{results}\n{END}{after}"))
}

#[cfg(test)]
#[path = "bench_tests.rs"]
mod tests;
