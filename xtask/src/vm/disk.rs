//! ext4 images made from directories, without loop mounts.

use std::{fs::File, path::Path, process::Command};

use anyhow::{Context, Result};

use super::command::{output, run_quietly};

/// How an image will be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// No journal, no free space.
    ReadOnly,
    /// With this much free space, in MiB.
    Writable { free_mib: u64 },
}

/// Makes an ext4 image at `image` with the content of `directory`.
///
/// # Errors
/// If the directory cannot be measured or mke2fs fails.
pub(crate) fn make(image: &Path, directory: &Path, label: &str, usage: Use) -> Result<()> {
    let used = used_mib(directory)?;
    // Inode tables, bitmaps and directories: a tenth and a bit, generously.
    let mut size = used + used / 8 + 16;
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-m", "0", "-L", label]);
    match usage {
        Use::ReadOnly => {
            command.args(["-O", "^has_journal"]);
        }
        Use::Writable { free_mib } => size += free_mib + 16,
    }
    // Initialised here, so that the guest's kernel does not do it in the background while it is measured.
    command.args(["-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    command
        .arg("-d")
        .arg(directory)
        .arg(image)
        .arg(format!("{size}M"));
    run_quietly(&mut command)
}

fn used_mib(directory: &Path) -> Result<u64> {
    let printed = output(
        Command::new("du")
            .args(["-s", "-m", "--apparent-size"])
            .arg(directory),
    )?;
    let disk = output(Command::new("du").args(["-s", "-m"]).arg(directory))?;
    let first = |text: &str| -> Result<u64> {
        let word = text.split_whitespace().next().unwrap_or_default();
        word.parse()
            .with_context(|| format!("measuring {}: du said {text:?}", directory.display()))
    };
    Ok(first(&printed)?.max(first(&disk)?))
}

/// An empty disk that takes no space until it is written.
///
/// # Errors
/// If the file cannot be made.
pub(crate) fn sparse(path: &Path, mib: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    file.set_len(mib << 20)
        .with_context(|| format!("sizing {}", path.display()))
}
