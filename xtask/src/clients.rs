//! The client libraries: the Python package in a virtual environment of its own, and of the Rust crate what the
//! other parts leave out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, cargo, run},
    setup,
};

/// Installs the Python package as a user would and runs its tests and checks, then the Rust crate's doc tests and
/// its build without D-Bus. The crate's other tests run with the pure ones.
///
/// # Errors
/// If something cannot be installed, or a test fails.
pub(crate) fn test() -> Result<()> {
    let python = environment()?;
    let package = package();
    let tool = |module: &str, args: &[&str]| {
        let mut command = Command::new(&python);
        command.args(["-m", module]).args(args).current_dir(&package);
        run(&mut command)
    };
    tool("ruff", &["format", "--check", "."])?;
    tool("ruff", &["check", "."])?;
    tool("mypy", &[])?;
    tool("pytest", &[])?;
    run(cargo().args(["test", "--locked", "--package", "memmon-client", "--doc"]))?;
    let without = ["--package", "memmon-client", "--no-default-features"];
    run(cargo()
        .args(["clippy", "--locked"])
        .args(without)
        .args(["--", "--deny", "warnings"]))
}

/// Installs the Python package and what it depends on into a directory, for `PYTHONPATH`.
///
/// # Errors
/// If pip fails.
pub(crate) fn install_into(dir: &Path) -> Result<()> {
    let python = environment()?;
    let mut pip = pip(&python);
    pip.args(["install", "--no-compile", "--target"])
        .arg(dir)
        .arg(package());
    run(&mut pip)
}

fn package() -> PathBuf {
    build::root().join("clients").join("python")
}

/// The interpreter of a virtual environment with the package as it is now, and the tools for its tests.
fn environment() -> Result<PathBuf> {
    setup::ensure_python()?;
    let dir = build::target_dir().join("clients-venv");
    let python = dir.join("bin").join("python");
    let version = output(Command::new("python3").arg("--version"))?;
    // Written last: without it, an environment is of another Python, or was not finished.
    let stamp = dir.join("python-version");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&version) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
        let requirement = format!("{}[test]", package().display());
        run(pip(&python).args(["install", &requirement]))?;
        fs::write(&stamp, &version).with_context(|| format!("writing {}", stamp.display()))?;
    }
    run(pip(&python)
        .args(["install", "--no-deps", "--force-reinstall"])
        .arg(package()))?;
    Ok(python)
}

fn pip(python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    pip
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
