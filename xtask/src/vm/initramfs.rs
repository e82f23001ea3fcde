//! The initial file system: a busybox, the modules of the root disk, and a script that switches to it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::cpio::Archive;

/// Statically linked, from the package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// What it takes to mount /dev/vda; whatever is built in needs no module.
const DISK_MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4"];
/// What ext4 asks for by name while mounting, so that no dependency tells; later kernels have no such module.
const IF_THERE: &[&str] = &["crc32c_generic"];

/// The script that runs as the first process.
pub(crate) const INIT: &str = include_str!("guest/init");

/// Writes the initramfs for the kernel whose modules (with their modules.dep) are in `modules`.
///
/// # Errors
/// If busybox is missing or not static, a module cannot be found or unpacked, or the file cannot be written.
pub(crate) fn write(modules: &Path, target: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = modules.join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let (dep, builtin) = (read("modules.dep")?, read("modules.builtin")?);
    let files = load_order(&dep, &builtin, IF_THERE, DISK_MODULES)?;
    let busybox = fs::read(BUSYBOX).with_context(|| format!("reading {BUSYBOX}"))?;
    let mut archive = Archive::default();
    for dir in ["bin", "dev", "proc", "sys", "root", "modules"] {
        archive.directory(dir);
    }
    archive.file("bin/busybox", 0o755, &busybox);
    archive.file("init", 0o755, INIT.as_bytes());
    for (position, file) in files.iter().enumerate() {
        // Numbered: the script loads them in the order of their names.
        let name = format!("modules/{position:02}.ko");
        archive.file(&name, 0o644, &decompress(&modules.join(file))?);
    }
    fs::write(target, archive.finish()).with_context(|| format!("writing {}", target.display()))
}

/// The module files to load, dependencies first; what is only wanted `if_there` may be absent.
fn load_order(dep: &str, builtin: &str, if_there: &[&str], wanted: &[&str]) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for name in if_there.iter().chain(wanted) {
        let line = dep.lines().find_map(|line| {
            let (file, needs) = line.split_once(':')?;
            (module_name(file) == *name).then_some((file, needs))
        });
        let Some((file, needs)) = line else {
            if if_there.contains(name) || builtin.lines().any(|file| module_name(file) == *name) {
                continue;
            }
            bail!("the kernel has no {name}, neither built in nor as a module");
        };
        // modules.dep lists what a module needs directly or not, the last to be loaded first.
        for file in needs.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|known| known == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

/// `kernel/drivers/block/virtio_blk.ko.xz` → `virtio_blk`.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

/// busybox's insmod takes modules as they are, not compressed.
fn decompress(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("reading {}", path.display())),
    };
    let output = Command::new(tool)
        .arg("-dc")
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {tool}"))?;
    if !output.status.success() {
        bail!("{tool} -dc {} ended with {}", path.display(), output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
#[path = "initramfs_tests.rs"]
mod tests;
