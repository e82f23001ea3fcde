//! Root file systems: a minimal Debian with a real systemd, one per release.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{
    apt::KEYRING,
    cache::Entry,
    command::{output, run_quietly},
    disk, host_sources,
};

/// What a root has on top of Debian's essential packages.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "procps",
    "python3",
    // `memmon top` runs in it.
    "tmux",
    // What `strategies.compare` puts beside memmon; see `NOT_AT_BOOT`.
    "systemd-oomd",
];

/// Files put into every root: (path, content).
const FILES: &[(&str, &str)] = &[
    (
        "etc/systemd/system/memmon-vmtest.service",
        include_str!("guest/memmon-vmtest.service"),
    ),
    (
        "etc/systemd/system/memmon-shell.service",
        include_str!("guest/memmon-shell.service"),
    ),
    (
        "etc/systemd/journald.conf.d/vm.conf",
        "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nForwardToWall=no\n",
    ),
    // An emulated machine misses real deadlines without anything being wrong.
    (
        "etc/systemd/system.conf.d/vm.conf",
        "[Manager]\nDefaultTimeoutStartSec=300\nDefaultTimeoutStopSec=120\n",
    ),
    ("etc/hostname", "memmon-vm\n"),
    ("etc/machine-id", "6d656d6d6f6e2d766d2d74657374696e\n"),
    ("etc/fstab", ""),
];

/// What nothing in a test needs, and what makes an emulated boot slow.
const MASKED: &[&str] = &[
    "cryptsetup.target",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "getty.target",
    "integritysetup.target",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-boot-random-seed.service",
    "systemd-firstboot.service",
    "systemd-hibernate-clear.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-pcrmachine.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup-dev-early.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tpm2-setup-early.service",
    "systemd-tpm2-setup.service",
    "systemd-udev-load-credentials.service",
    "systemd-udev-trigger.service",
    "systemd-update-done.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "systemd-user-sessions.service",
    "veritysetup.target",
];

/// What starts at boot on a normal system and is started on demand here: logind over D-Bus, systemd-oomd by the one
/// case that is about it. oomd's settings go as well: no other case shall find a second policy, and with one systemd
/// starts it.
const NOT_AT_BOOT: &[&str] = &[
    "usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service",
    "etc/systemd/system/multi-user.target.wants/systemd-oomd.service",
    "etc/systemd/system/sockets.target.wants/systemd-oomd.socket",
    "usr/lib/systemd/system/-.slice.d/10-oomd-root-slice-defaults.conf",
    "usr/lib/systemd/system/user@.service.d/10-oomd-user-service-defaults.conf",
];

/// Programs that systemd runs at every daemon-reload, four seconds in emulation, for the sake of things a test
/// machine has none of (fstab, LVM, credentials, …).
const GENERATORS: &str = "usr/lib/systemd/system-generators";

/// Free space of the image: swap files, journals, what tests write.
const FREE_MIB: u64 = 768;

/// The root image of a Debian release; made if there is none yet by today's recipe.
///
/// # Errors
/// If the release cannot be installed.
pub(crate) fn ensure(release: &str) -> Result<PathBuf> {
    let entry = Entry::new("roots", release, &recipe(release))?;
    if entry.version().is_none() {
        if !running_as_root()? {
            bail!("making a root file system needs root (files in it belong to several users): run as root");
        }
        eprintln!("vm: root file system of {release} (takes about a minute)");
        entry.make(release, |dir| build(release, dir))?;
    }
    Ok(entry.file("root.ext4"))
}

/// Everything that decides what is in the image, in words; a change makes it anew.
fn recipe(release: &str) -> String {
    // The number stands for what the code does besides.
    format!("root 3 {release} {FREE_MIB} {PACKAGES:?} {FILES:?} {MASKED:?} {NOT_AT_BOOT:?} {GENERATORS}")
}

fn running_as_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn build(release: &str, dir: &Path) -> Result<()> {
    let mirrors = host_sources::mirrors()?;
    let tree = dir.join("tree");
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--mode=root", "--variant=essential", "--architectures=amd64"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(format!("--keyring={KEYRING}"));
    for excluded in ["doc", "locale", "man", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{excluded}/*"));
    }
    for option in host_acquire_options()? {
        command.arg(format!("--aptopt={option}"));
    }
    command.arg(release).arg(&tree).arg(&mirrors.archive);
    run_quietly(&mut command).with_context(|| format!("installing {release}"))?;
    customise(&tree)?;
    disk::make(
        &dir.join("root.ext4"),
        &tree,
        "root",
        disk::Use::Writable { free_mib: FREE_MIB },
    )?;
    fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))
}

/// How the host reaches mirrors (proxies, archives frozen in time): mmdebstrap does not look by itself.
fn host_acquire_options() -> Result<Vec<String>> {
    let dump = output(Command::new("apt-config").arg("dump"))?;
    let wanted = [
        "Acquire::http::Proxy",
        "Acquire::https::Proxy",
        "Acquire::Check-",
        "Acquire::Retries",
    ];
    Ok(dump
        .lines()
        .filter(|line| wanted.iter().any(|prefix| line.starts_with(prefix)))
        .map(str::to_owned)
        .collect())
}

fn customise(tree: &Path) -> Result<()> {
    for dir in ["opt/memmon", "usr/lib/modules"] {
        make_dir(&tree.join(dir))?;
    }
    for (path, content) in FILES {
        let path = tree.join(path);
        make_dir(path.parent().unwrap_or(tree))?;
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    let units = tree.join("etc/systemd/system");
    for unit in MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    for want in NOT_AT_BOOT {
        let path = tree.join(want);
        // Not every release has all of them.
        if path.is_symlink() || path.is_file() {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    let generators = tree.join(GENERATORS);
    fs::remove_dir_all(&generators).with_context(|| format!("removing {}", generators.display()))?;
    make_dir(&units.join("multi-user.target.wants"))?;
    for unit in ["memmon-vmtest.service", "memmon-shell.service"] {
        link(
            &format!("../{unit}"),
            &units.join("multi-user.target.wants").join(unit),
        )?;
    }
    for binary in ["memmon", "memmon-workload"] {
        link(
            &format!("/opt/memmon/bin/{binary}"),
            &tree.join("usr/bin").join(binary),
        )?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))
}

fn link(target: &str, path: &Path) -> Result<()> {
    if path.is_symlink() {
        fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    }
    symlink(target, path).with_context(|| format!("linking {}", path.display()))
}
