//! Swap devices.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::{Ctx, shell, undo::Undo};

/// The empty disk every machine has.
pub const DISK: &str = "/dev/vdd";
const ZRAM: &str = "/dev/zram0";
const ZRAM_SYSFS: &str = "/sys/block/zram0";

impl Ctx {
    /// Swaps to compressed memory of that (uncompressed) size, until the case is over.
    ///
    /// # Errors
    /// If zram or one of the tools fails.
    pub fn swap_on_zram(&self, mib: u64) -> Result<()> {
        shell::run("modprobe", &["zram", "num_devices=1"])?;
        ensure!(
            Path::new(ZRAM_SYSFS).exists(),
            "{ZRAM_SYSFS} is missing although zram is loaded"
        );
        self.undo().note(&Undo::ResetZram(ZRAM_SYSFS.into()))?;
        let size = Path::new(ZRAM_SYSFS).join("disksize");
        fs::write(&size, format!("{mib}M")).with_context(|| format!("writing {}", size.display()))?;
        self.swap_on(ZRAM)
    }

    /// Swaps to the machine's empty disk, until the case is over.
    ///
    /// # Errors
    /// If the disk is missing or one of the tools fails.
    pub fn swap_on_disk(&self) -> Result<()> {
        self.swap_on(DISK)
    }

    fn swap_on(&self, device: &str) -> Result<()> {
        shell::run("mkswap", &[device])?;
        self.undo().note(&Undo::SwapOff(device.into()))?;
        shell::run("swapon", &[device])?;
        Ok(())
    }
}
