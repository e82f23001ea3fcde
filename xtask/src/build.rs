//! `cargo xtask build`: the eBPF object and the web page, then the agent with both inside.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    bpf_object,
    bpf_toolchain::{self, TARGET, Toolchain},
    web,
};

/// The workspace's root directory.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Runs a command and turns its failure into an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("xtask: {}", describe(command));
    let status = command
        .status()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} ended with {status}", describe(command));
    }
    Ok(())
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

/// A `cargo` that does not inherit what the `cargo` around us set for xtask itself.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
            cargo.env_remove(&key);
        }
    }
    cargo
}

/// Builds the eBPF object and returns its path, which changes only when the object does.
pub(crate) fn ebpf() -> Result<PathBuf> {
    let toolchain = bpf_toolchain::find()?;
    eprintln!("xtask: eBPF object with {toolchain}");
    let dir = target_dir().join("bpf");
    let mut cargo = cargo();
    cargo
        .args([
            "build",
            "--locked",
            "--package",
            "memmon-ebpf",
            "--profile",
            "bpf",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(&dir)
        .env("PATH", bpf_toolchain::path()?)
        .env_remove("RUSTFLAGS")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            // Type information of our own: the kernel asks for it where a program hands out a callback.
            format!(
                "--cfg=bpf_target_arch=\"{}\"\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf",
                env::consts::ARCH
            ),
        );
    match &toolchain {
        Toolchain::Prebuilt(rustc) => cargo
            .env("RUSTC", rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env_remove("RUSTUP_TOOLCHAIN"),
        Toolchain::Nightly => cargo
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .args(["-Z", "build-std=core"]),
    };
    run(&mut cargo)?;
    let built = dir.join(TARGET).join("bpf").join("memmon-ebpf");
    // cargo touches its output even when nothing changed; a copy keeps dependants from being rebuilt.
    let object = dir.join("memmon-ebpf.o");
    let bytes = without_debug_info(&built)?;
    bpf_object::refuse_panics(&bytes)?;
    if fs::read(&object).ok().as_deref() != Some(&bytes) {
        fs::write(&object, &bytes).with_context(|| format!("writing {}", object.display()))?;
    }
    Ok(object)
}

/// The object without what only a debugger reads, if LLVM's tool for that is there: type information (`.BTF`)
/// is made from debug information, which is ten times as large as the rest.
fn without_debug_info(object: &Path) -> Result<Vec<u8>> {
    let stripped = object.with_extension("stripped");
    let done = Command::new("llvm-strip")
        .env("PATH", bpf_toolchain::path()?)
        .arg("--strip-debug")
        .arg("-o")
        .args([&stripped, object])
        .status();
    let from = if done.is_ok_and(|status| status.success()) {
        &stripped
    } else {
        object
    };
    fs::read(from).with_context(|| format!("reading {}", from.display()))
}

/// Has `cargo` build an agent with everything inside: the eBPF object and the web page.
pub(crate) fn embed(cargo: &mut Command) -> Result<()> {
    cargo
        .env("MEMMON_BPF_OBJECT", ebpf()?)
        .env("MEMMON_WEB_DIST", web::page()?);
    Ok(())
}

/// Builds the agent with everything inside and returns the binary's path.
pub(crate) fn agent(release: bool) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--package", "memmon", "--bin", "memmon"]);
    embed(&mut cargo)?;
    if release {
        cargo.arg("--release");
    }
    run(&mut cargo)?;
    Ok(target_dir()
        .join(if release { "release" } else { "debug" })
        .join("memmon"))
}

/// Builds a program of the `tests` crate, with everything inside, and returns its path.
pub(crate) fn test_program(name: &str, release: bool) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--package", "memmon-tests", "--bin", name]);
    embed(&mut cargo)?;
    if release {
        cargo.arg("--release");
    }
    run(&mut cargo)?;
    Ok(target_dir()
        .join(if release { "release" } else { "debug" })
        .join(name))
}
