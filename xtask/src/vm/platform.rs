//! The kernels and root file systems memmon is tested on.

use anyhow::{Result, bail};

/// A kernel on a root file system.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    /// What people call it: `--kernel NAME`.
    pub(crate) name: &'static str,
    /// The suites that may offer the kernel; the newest version wins.
    pub(crate) suites: &'static [&'static str],
    /// The package that depends on the newest kernel.
    pub(crate) package: &'static str,
    /// The Debian release of the root file system.
    pub(crate) root: &'static str,
    /// Part of `cargo xtask test`; the others are run by `cargo xtask vm matrix`.
    pub(crate) everyday: bool,
    /// memmon works there; elsewhere it is only asked to say why not.
    pub(crate) supported: bool,
}

/// Debian's kernels for virtual machines: small, and without zswap until 6.19.
const CLOUD: &str = "linux-image-cloud-amd64";

/// Every platform, oldest kernel first.
pub(crate) const PLATFORMS: &[Platform] = &[
    // 5.10: too old, a page does not tell its owner in a way that can be read.
    Platform {
        name: "bullseye",
        suites: &["bullseye"],
        package: CLOUD,
        root: "trixie",
        everyday: false,
        supported: false,
    },
    // 6.1 and systemd 252: the oldest supported pair.
    Platform {
        name: "bookworm",
        suites: &["bookworm"],
        package: CLOUD,
        root: "bookworm",
        everyday: true,
        supported: true,
    },
    // 6.12 and systemd 257.
    Platform {
        name: "trixie",
        suites: &["trixie"],
        package: CLOUD,
        root: "trixie",
        everyday: true,
        supported: true,
    },
    // The general kernel of 6.12: zswap before the change of memcg_data in 7.1.
    Platform {
        name: "trixie-generic",
        suites: &["trixie"],
        package: "linux-image-amd64",
        root: "trixie",
        everyday: false,
        supported: true,
    },
    Platform {
        name: "forky",
        suites: &["forky"],
        package: CLOUD,
        root: "trixie",
        everyday: false,
        supported: true,
    },
    // 7.x: obj_cgroup in memcg_data, memdesc flags, the moved argument of __swap_writepage, zswap.
    Platform {
        name: "newest",
        suites: &["trixie-backports", "forky", "sid"],
        package: CLOUD,
        root: "trixie",
        everyday: true,
        supported: true,
    },
];

/// The platforms of `cargo xtask test`.
pub(crate) fn everyday() -> Vec<&'static Platform> {
    PLATFORMS.iter().filter(|platform| platform.everyday).collect()
}

/// The platform of that name.
///
/// # Errors
/// If there is none; the message lists the names there are.
pub(crate) fn named(name: &str) -> Result<&'static Platform> {
    match PLATFORMS.iter().find(|platform| platform.name == name) {
        Some(platform) => Ok(platform),
        None => {
            let names: Vec<_> = PLATFORMS.iter().map(|platform| platform.name).collect();
            bail!("no platform {name:?}: there are {}", names.join(", "))
        }
    }
}
