//! Finds a rustc that can produce `bpfel-unknown-none`, and the LLVM that bpf-linker needs beside it.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The target triple of the eBPF object.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// A way of compiling for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// A rustc that ships a prebuilt BPF libcore (Debian), or that `MEMMON_BPF_RUSTC` names.
    Prebuilt(PathBuf),
    /// A rustup nightly with rust-src: libcore is built on the way.
    Nightly,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prebuilt(rustc) => write!(f, "{} with its own BPF libcore", rustc.display()),
            Self::Nightly => write!(f, "rustup nightly with rust-src"),
        }
    }
}

/// Finds a toolchain in the order: `MEMMON_BPF_RUSTC`, rustup nightly with rust-src, Debian's rustc.
///
/// # Errors
/// If there is none; the message names what to install.
pub(crate) fn find() -> Result<Toolchain> {
    if let Some(rustc) = env::var_os("MEMMON_BPF_RUSTC") {
        let rustc = PathBuf::from(rustc);
        if !has_libcore(&rustc) {
            bail!(
                "MEMMON_BPF_RUSTC={}: has no libcore for {TARGET}",
                rustc.display()
            );
        }
        return Ok(Toolchain::Prebuilt(rustc));
    }
    if nightly_has_source() {
        return Ok(Toolchain::Nightly);
    }
    for rustc in ["/usr/bin/rustc", "/usr/lib/rust-web/bin/rustc"] {
        if has_libcore(Path::new(rustc)) {
            return Ok(Toolchain::Prebuilt(rustc.into()));
        }
    }
    bail!("no rustc here can compile for {TARGET}: run `cargo xtask setup`")
}

fn sysroot(mut command: Command) -> Option<PathBuf> {
    let output = command.args(["--print", "sysroot"]).output().ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn has_libcore(rustc: &Path) -> bool {
    let Some(sysroot) = sysroot(Command::new(rustc)) else {
        return false;
    };
    let lib = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    lib.read_dir().is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("libcore-") && name.ends_with(".rlib")
            })
        })
    })
}

fn nightly_has_source() -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["run", "nightly", "rustc"]);
    sysroot(rustup).is_some_and(|root| root.join("lib/rustlib/src/rust/library/core").is_dir())
}

/// The newest LLVM's bin directory that is installed, for bpf-linker's PATH.
pub(crate) fn llvm_bin() -> Option<PathBuf> {
    (18..40u32)
        .rev()
        .map(|v| PathBuf::from(format!("/usr/lib/llvm-{v}/bin")))
        .find(|p| p.join("llvm-config").exists())
}

/// PATH with LLVM's bin directory and cargo's own first.
pub(crate) fn path() -> Result<OsString> {
    let mut paths: Vec<PathBuf> = llvm_bin().into_iter().collect();
    // Where `cargo install` puts bpf-linker; the user's PATH need not lead there.
    if let Some(cargo) = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
    {
        paths.push(cargo.join("bin"));
    }
    paths.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    env::join_paths(paths).context("joining PATH")
}
