//! Swap on zram0 for as long as a guard lives.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

const DEVICE: &str = "/dev/zram0";
const SYSFS: &str = "/sys/block/zram0";

/// zram0 as the preferred swap device. Dropping it swaps everything back in and resets the device.
#[derive(Debug)]
pub struct Zram {
    swapping: bool,
}

impl Zram {
    /// Takes the device if nobody uses it.
    ///
    /// # Errors
    /// If there is none, if it is in use, or if it cannot be set up.
    pub fn claim(bytes: u64) -> Result<Self> {
        if !Path::new(SYSFS).exists() {
            // Where zram is a module; one device is its default.
            let _ = Command::new("modprobe").arg("zram").status();
        }
        let size = fs::read_to_string(format!("{SYSFS}/disksize"))
            .with_context(|| format!("{SYSFS}/disksize: this kernel has no zram (CONFIG_ZRAM)"))?;
        let swaps = fs::read_to_string("/proc/swaps").context("reading /proc/swaps")?;
        if size.trim() != "0" || swaps.lines().any(|line| line.starts_with(DEVICE)) {
            bail!(
                "{DEVICE} is in use ({} bytes): the tests need it for themselves. If nobody else does: \
                 swapoff {DEVICE}; echo 1 >{SYSFS}/reset",
                size.trim()
            );
        }
        let mut zram = Self { swapping: false };
        fs::write(format!("{SYSFS}/disksize"), bytes.to_string())
            .with_context(|| format!("writing {bytes} to {SYSFS}/disksize"))?;
        run("mkswap", &[DEVICE])?;
        run("swapon", &["--priority", "32767", DEVICE])?;
        zram.swapping = true;
        Ok(zram)
    }
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}: {}", args.join(" "), output.status, said.trim());
    }
    Ok(())
}

impl Drop for Zram {
    fn drop(&mut self) {
        let off = if self.swapping {
            run("swapoff", &[DEVICE])
        } else {
            Ok(())
        };
        let done = off.and_then(|()| fs::write(format!("{SYSFS}/reset"), "1").context("resetting zram0"));
        if let Err(error) = done {
            eprintln!("giving {DEVICE} back: {error:#}");
        }
    }
}
