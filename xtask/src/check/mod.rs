//! `cargo xtask check`: the rules of docs/architecture that the compiler does not enforce, then rustfmt,
//! clippy and cargo-deny.

mod layers;
mod manifests;
mod purity;
mod tokens;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::build::{cargo, root, run};

/// No source file is longer, tests included.
const LONGEST_FILE: usize = 500;
/// Where the stages live, relative to the root.
const STAGES: &str = "memmon-userspace/src";

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// Relative to the root.
    file: String,
    /// From 1; 0 if the whole file is meant.
    line: usize,
    /// What is wrong, and what to do.
    problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.problem),
            line => write!(f, "{}:{line}: {}", self.file, self.problem),
        }
    }
}

/// Runs every check.
///
/// # Errors
/// If a rule is broken, or a tool finds something or is missing.
pub(crate) fn all() -> Result<()> {
    rules()?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--locked", "--all-targets", "--", "--deny", "warnings"]))?;
    dependencies()
}

/// Checks the dependencies' licences, bans and sources. Not their advisories: the database of advisories is
/// not always within reach.
fn dependencies() -> Result<()> {
    let mut deny = cargo();
    if !deny
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        bail!("cargo-deny is not installed: run `cargo xtask setup`");
    }
    run(cargo().args([
        "deny",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}

/// Checks the rules on the sources and manifests.
///
/// # Errors
/// If one is broken, or a file cannot be read.
pub(crate) fn rules() -> Result<()> {
    let root = root();
    let mut files = Vec::new();
    collect(&root, &root, &mut files)?;
    let mut violations = Vec::new();
    let mut lengths = Vec::new();
    let mut manifests = 0;
    for file in &files {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        if file.ends_with(".rs") {
            lengths.push(text.lines().count());
            violations.extend(source(file, &text));
        } else {
            manifests += 1;
            violations.extend(manifests::check(file, &text));
        }
    }
    lengths.sort_unstable();
    let (Some(median), Some(longest)) = (lengths.get(lengths.len() / 2), lengths.last()) else {
        bail!("{}: no source files found", root.display());
    };
    eprintln!(
        "xtask: {manifests} manifests; {} source files, median {median} lines, longest {longest}",
        lengths.len()
    );
    if violations.is_empty() {
        return Ok(());
    }
    for violation in &violations {
        eprintln!("{violation}");
    }
    bail!("{} rules broken", violations.len())
}

/// The `.rs` files and manifests below `dir`, relative to `root`, sorted.
fn collect(root: &Path, dir: &Path, files: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_dir = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if is_dir && name != "target" && !name.starts_with('.') {
            collect(root, &path, files)?;
        } else if !is_dir && (name.ends_with(".rs") || name == "Cargo.toml") {
            files.push(
                path.strip_prefix(root)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    Ok(())
}

/// Checks one source file.
fn source(file: &str, text: &str) -> Vec<Violation> {
    let violation = |line, problem| Violation {
        file: file.to_owned(),
        line,
        problem,
    };
    let mut violations = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        violations.push(violation(
            0,
            format!("has {lines} lines, more than {LONGEST_FILE}: split it"),
        ));
    }
    let Some(module) = module(file) else {
        return violations;
    };
    let paths = match tokens::paths(text) {
        Ok(paths) => paths,
        Err(problem) => {
            violations.push(violation(0, format!("cannot be read as Rust: {problem}")));
            return violations;
        }
    };
    for path in &paths {
        let problems = [layers::check(&module, path), purity::check(&module, path)];
        violations.extend(
            problems
                .into_iter()
                .flatten()
                .map(|problem| violation(path.line, problem)),
        );
    }
    violations
}

/// The module that `file` is, as a path from the crate's root; `None` if it is no stage's code: tests, other
/// crates, and the crate's root itself.
fn module(file: &str) -> Option<Vec<String>> {
    let inside = file
        .strip_prefix(STAGES)?
        .strip_prefix('/')?
        .strip_suffix(".rs")?;
    let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
    let is_test = |part: &String| part == "tests" || part == "testing" || part.ends_with("_tests");
    if module.iter().any(is_test) || ["lib", "main"].contains(&inside) {
        return None;
    }
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    Some(module)
}

#[cfg(test)]
mod tests;
