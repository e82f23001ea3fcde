//! `cargo xtask package`: the Debian package.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    setup::{self, Purpose},
};

/// Builds the agent for release and packs it.
///
/// # Errors
/// If something cannot be installed, built or packed.
pub(crate) fn main() -> Result<()> {
    setup::ensure(Purpose::Package)?;
    let memmon = build::agent(true)?;
    let dir = memmon.parent().context("the program lies in a directory")?;
    println!("{}", pack(&memmon, dir, &Variant::RELEASE)?.display());
    Ok(())
}

/// How the program that is packed was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant<'a> {
    /// Cargo's profile.
    pub(crate) profile: &'a str,
    /// The target triple, if one was given.
    pub(crate) target: Option<&'a str>,
    /// Debian's revision: a higher one is an upgrade.
    pub(crate) revision: u32,
}

impl Variant<'_> {
    const RELEASE: Self = Self {
        profile: "release",
        target: None,
        revision: 1,
    };
}

/// What a package is called before it has a version.
pub(crate) fn file_name(revision: u32) -> String {
    format!("memmon_{revision}.deb")
}

/// Packs `memmon`, which was built into `dir`, and returns where the package is.
///
/// # Errors
/// If the program does not write its pages, or cargo-deb fails.
pub(crate) fn pack(memmon: &Path, dir: &Path, variant: &Variant<'_>) -> Result<PathBuf> {
    generate(memmon, &dir.join("package"))?;
    let packed = dir.join(file_name(variant.revision));
    let mut cargo = build::cargo();
    cargo
        .args([
            "deb",
            "--locked",
            "--no-build",
            "--no-strip",
            "--package",
            "memmon",
        ])
        .args(["--profile", variant.profile, "--deb-revision"])
        .arg(variant.revision.to_string())
        .arg("--output")
        .arg(&packed);
    if let Some(target) = variant.target {
        cargo.args(["--target", target]);
    }
    build::run(&mut cargo)?;
    Ok(packed)
}

/// Has the program write its manual pages and completions.
fn generate(memmon: &Path, to: &Path) -> Result<()> {
    let man = to.join("man");
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("removing {}", to.display()))?;
    }
    fs::create_dir_all(&man).with_context(|| format!("creating {}", man.display()))?;
    build::run(Command::new(memmon).args(["man", "--dir"]).arg(&man))?;
    for shell in ["bash", "zsh", "fish"] {
        let mut completions = Command::new(memmon);
        let output = completions
            .args(["completions", shell])
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("starting {}", memmon.display()))?;
        if !output.status.success() {
            bail!("memmon completions {shell} ended with {}", output.status);
        }
        let file = to.join(format!("memmon.{shell}"));
        fs::write(&file, output.stdout).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
