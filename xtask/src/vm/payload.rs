//! The disk with what is under test: static binaries, packaging, and which cases to run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{command::run_quietly, disk, kernel::Kernel, platform::Platform, run::Plan};
use crate::{
    build, clients,
    package::{self, Variant},
};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "guest";
/// Packages of the same program: the second is an upgrade of the first.
const REVISIONS: [u32; 2] = [1, 2];
const BINARIES: &[&str] = &["memmon", "memmon-guest", "memmon-workload"];
/// The Rust client's example, which cargo builds into a directory of its own.
const EXAMPLE: &str = "examples/service";
/// The Python package and what it depends on.
const PYTHON: &str = "python";

/// Builds the agent and the guest side, statically linked so that every root's libc will do, installs the Python
/// package beside them, and returns the directory. Machines run at a time and one environment is for one pip at a
/// time: it is all done here, once.
///
/// # Errors
/// If the machine is not x86-64, a build fails, or pip does.
pub(crate) fn build() -> Result<PathBuf> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the virtual machines are x86-64 and cannot run binaries built here");
    }
    let mut cargo = build::cargo();
    cargo
        .args(["build", "--locked", "--profile", PROFILE, "--target", TARGET])
        .args(["--package", "memmon", "--package", "memmon-tests"])
        .args(BINARIES.iter().flat_map(|name| ["--bin", name]))
        .args(["--package", "memmon-client", "--example", "service"])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    build::embed(&mut cargo)?;
    build::run(&mut cargo)?;
    let dir = build::target_dir().join(TARGET).join(PROFILE);
    for revision in REVISIONS {
        let variant = Variant {
            profile: PROFILE,
            target: Some(TARGET),
            revision,
        };
        package::pack(&dir.join("memmon"), &dir, &variant)?;
    }
    let python = dir.join(PYTHON);
    remove(&python)?;
    clients::install_into(&python)?;
    Ok(dir)
}

/// Makes the disk image in `dir`.
///
/// # Errors
/// If files cannot be copied or the image cannot be made.
pub(crate) fn image(
    dir: &Path,
    binaries: &Path,
    platform: &Platform,
    kernel: &Kernel,
    plan: &Plan,
) -> Result<PathBuf> {
    let tree = dir.join("payload");
    remove(&tree)?;
    let bin = tree.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("creating {}", bin.display()))?;
    for name in BINARIES {
        let from = binaries.join(name);
        fs::copy(&from, bin.join(name)).with_context(|| format!("copying {}", from.display()))?;
    }
    for revision in REVISIONS {
        let name = package::file_name(revision);
        let from = binaries.join(&name);
        fs::copy(&from, tree.join(name)).with_context(|| format!("copying {}", from.display()))?;
    }
    let example = binaries.join(EXAMPLE);
    fs::copy(&example, bin.join("memmon-example-service"))
        .with_context(|| format!("copying {}", example.display()))?;
    run_quietly(Command::new("cp").arg("-r").arg(binaries.join(PYTHON)).arg(&tree))?;
    for script in ["examples/service.py", "tests/real_agent.py"] {
        let from = build::root().join("clients/python").join(script);
        let name = from.file_name().context("a file")?;
        fs::copy(&from, tree.join(PYTHON).join(name))
            .with_context(|| format!("copying {}", from.display()))?;
    }
    let packaging = build::root().join("packaging");
    run_quietly(Command::new("cp").arg("-r").arg(packaging).arg(&tree))?;
    let run = json!({
        "platform": platform.name,
        "root": platform.root,
        "release": kernel.release,
        "cases": plan.cases,
        "soak_minutes": plan.soak_minutes,
    });
    fs::write(tree.join("run.json"), run.to_string()).context("writing run.json")?;
    let image = dir.join("payload.ext4");
    disk::make(&image, &tree, "memmon", disk::Use::ReadOnly)?;
    Ok(image)
}

fn remove(tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    Ok(())
}
