//! A rustc that can compile for BPF, and a bpf-linker that understands what it emits.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{apt, find_program, step, tools};
use crate::{
    bpf_toolchain::{self, Toolchain},
    build::run,
};

/// The version of bpf-linker that memmon is built with.
const LINKER_VERSION: &str = "0.13.0";
/// The LLVM versions that it can be built with: its features `llvm-N`.
const LINKER_LLVMS: [u32; 3] = [21, 22, 23];
/// Debian's packages of a rustc with a BPF libcore: bookworm's newer rustc has names of its own.
const DEBIAN_RUSTCS: [[&str; 2]; 2] = [
    ["rustc-web", "libstd-rust-web-dev-bpf"],
    ["rustc", "libstd-rust-dev-bpf"],
];

/// Finds a rustc that can compile for BPF, or installs one.
///
/// # Errors
/// If none can be had.
pub(super) fn ensure_rustc() -> Result<Toolchain> {
    if env::var_os("MEMMON_BPF_RUSTC").is_none() && bpf_toolchain::find().is_err() {
        install_rustc()?;
    }
    let toolchain = bpf_toolchain::find()?;
    step("rustc for BPF", || Ok(toolchain.to_string()))?;
    Ok(toolchain)
}

fn install_rustc() -> Result<()> {
    if find_program("apt-get").is_some() {
        let available = || {
            DEBIAN_RUSTCS
                .iter()
                .find(|set| set.iter().all(|package| apt::has_candidate(package)))
        };
        if available().is_none() {
            apt::update()?;
        }
        if let Some(packages) = available() {
            return apt::install(packages);
        }
    }
    if find_program("rustup").is_some() {
        let mut rustup = Command::new("rustup");
        rustup.args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]);
        return run(&mut rustup);
    }
    bail!(
        "no rustc for BPF can be installed here: install a nightly with rust-src through rustup, or set \
         MEMMON_BPF_RUSTC to a rustc that has a libcore for {}",
        bpf_toolchain::TARGET
    )
}

/// Finds bpf-linker with an LLVM that is not older than the compiler's, or builds it.
///
/// # Errors
/// If there is no such LLVM, or the build fails.
pub(super) fn ensure_linker(toolchain: &Toolchain) -> Result<()> {
    let needed = rustc_llvm(toolchain)?;
    step("bpf-linker", || {
        let installed = find_program("bpf-linker");
        if let Some(linker) = &installed
            && is_wanted(linker, needed)
        {
            return Ok(format!("present: {}", linker.display()));
        }
        let llvm = ensure_llvm(needed, toolchain)?;
        build_linker(llvm)?;
        Ok(format!("{LINKER_VERSION} built with LLVM {llvm}"))
    })
}

fn is_wanted(linker: &Path, needed: u32) -> bool {
    let version = Command::new(linker).arg("--version").output();
    let right = version.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .any(|word| word == LINKER_VERSION)
    });
    // A linker with LLVM inside does not tell which; if it is too old, linking will say so.
    right && linked_llvm(linker).is_none_or(|llvm| llvm >= needed)
}

fn linked_llvm(linker: &Path) -> Option<u32> {
    let output = Command::new("ldd").arg(linker).output().ok()?;
    llvm_of_libraries(&String::from_utf8_lossy(&output.stdout))
}

/// The major version in a name such as `libLLVM.so.22.1` or `libLLVM-21.so.1`.
pub(super) fn llvm_of_libraries(ldd: &str) -> Option<u32> {
    let name = ldd.split_whitespace().find(|word| word.starts_with("libLLVM"))?;
    name.split(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty())?
        .parse()
        .ok()
}

fn rustc_llvm(toolchain: &Toolchain) -> Result<u32> {
    let mut rustc = match toolchain {
        Toolchain::Prebuilt(rustc) => Command::new(rustc),
        Toolchain::Nightly => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", "nightly", "rustc"]);
            rustup
        }
    };
    let output = rustc
        .arg("-vV")
        .output()
        .with_context(|| format!("asking {toolchain} for its version"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    llvm_of_rustc(&text).with_context(|| format!("{toolchain} -vV does not tell its LLVM: {text}"))
}

/// The major version that `rustc -vV` tells.
pub(super) fn llvm_of_rustc(version: &str) -> Option<u32> {
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.trim().parse().ok()
}

/// Finds or installs the development files of an LLVM that bpf-linker can be built with.
fn ensure_llvm(needed: u32, toolchain: &Toolchain) -> Result<u32> {
    let is_installed = |version: u32| llvm_bin(version).join("llvm-config").exists();
    if let Some(version) = choose_llvm(needed, is_installed) {
        return Ok(version);
    }
    if find_program("apt-get").is_some() {
        let available = || {
            choose_llvm(needed, |version| {
                apt::has_candidate(&format!("llvm-{version}-dev"))
            })
        };
        if available().is_none() {
            apt::update()?;
        }
        if let Some(version) = available() {
            // What LLVM's own libraries are linked with.
            apt::install(&[&format!("llvm-{version}-dev"), "zlib1g-dev", "libzstd-dev"])?;
            return Ok(version);
        }
    }
    bail!(
        "{toolchain} emits LLVM {needed}, and no LLVM from {needed} to {} is installed or packaged here: install \
         its development files below /usr/lib/llvm-{needed}, or set MEMMON_BPF_RUSTC to a rustc with an older LLVM",
        LINKER_LLVMS[LINKER_LLVMS.len() - 1]
    )
}

/// The oldest LLVM that is new enough.
pub(super) fn choose_llvm(needed: u32, is_there: impl Fn(u32) -> bool) -> Option<u32> {
    LINKER_LLVMS
        .into_iter()
        .filter(|version| *version >= needed)
        .find(|version| is_there(*version))
}

fn llvm_bin(version: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{version}/bin"))
}

fn build_linker(llvm: u32) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [llvm_bin(llvm)].into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(paths).context("joining PATH")?;
    let feature = format!("llvm-{llvm}");
    tools::cargo_install("bpf-linker", LINKER_VERSION, |cargo| {
        // It optimises our programs, so it is worth being optimised itself: without --debug.
        cargo
            .args(["--force", "--no-default-features", "--features", &feature])
            .env("PATH", &path);
    })
}
