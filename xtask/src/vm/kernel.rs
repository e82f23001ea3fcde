//! Debian's kernels: downloaded and unpacked into the cache, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{
    apt::{self, Apt},
    cache::Entry,
    command::run_quietly,
    disk, host_sources, initramfs,
    platform::Platform,
};

/// Raise to have every kernel's images made anew.
const RECIPE_VERSION: u32 = 2;

/// A kernel that is ready to boot.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` prints it.
    pub(crate) release: String,
    /// The compressed kernel.
    pub(crate) vmlinuz: PathBuf,
    /// Loads what the root disk needs and switches to it.
    pub(crate) initramfs: PathBuf,
    /// An ext4 image of `/lib/modules`.
    pub(crate) modules: PathBuf,
}

/// What a suite offers.
struct Offer {
    apt: Apt,
    version: String,
    image: String,
}

/// The platform's kernel from the cache; downloads it if there is none yet, or if `refresh` and the archive has
/// a newer one.
///
/// # Errors
/// If no suite of the platform can be reached or offers a kernel, or unpacking fails.
pub(crate) fn ensure(platform: &Platform, refresh: bool) -> Result<Kernel> {
    let entry = Entry::new("kernels", platform.name, &recipe())?;
    let made = entry.version();
    if made.is_some() && !refresh {
        return load(&entry);
    }
    let offer = newest_offer(platform)?;
    if made.is_none_or(|version| version != offer.version) {
        eprintln!(
            "vm: kernel of {}: {} {}",
            platform.name, offer.image, offer.version
        );
        entry.make(&offer.version, |dir| unpack(&offer, dir))?;
    }
    load(&entry)
}

/// Everything that decides what is made of a kernel's packages.
fn recipe() -> String {
    format!("kernel {RECIPE_VERSION} {}", initramfs::INIT)
}

fn load(entry: &Entry) -> Result<Kernel> {
    let release = entry.file("release");
    Ok(Kernel {
        release: fs::read_to_string(&release).with_context(|| format!("reading {}", release.display()))?,
        vmlinuz: entry.file("vmlinuz"),
        initramfs: entry.file("initramfs"),
        modules: entry.file("modules.ext4"),
    })
}

/// Asks every suite; one that cannot be had is only fatal if no other has a kernel.
fn newest_offer(platform: &Platform) -> Result<Offer> {
    let mirrors = host_sources::mirrors()?;
    let mut newest: Option<Offer> = None;
    let mut failures = Vec::new();
    for suite in platform.suites {
        let offer = Apt::new(&mirrors, suite).and_then(|apt| {
            apt.update()?;
            offer(apt, platform.package)
        });
        match offer {
            Ok(offer) => {
                let better = match &newest {
                    Some(best) => apt::newer(&offer.version, &best.version)?,
                    None => true,
                };
                if better {
                    newest = Some(offer);
                }
            }
            Err(error) => {
                eprintln!("vm: no kernel from {suite}: {error:#}");
                failures.push(*suite);
            }
        }
    }
    newest.with_context(|| {
        format!(
            "no suite of {} offers a kernel: {}",
            platform.name,
            failures.join(", ")
        )
    })
}

/// Follows the meta package to the kernel it stands for.
fn offer(apt: Apt, meta: &str) -> Result<Offer> {
    let shown = apt.show(meta)?;
    let version = apt::field(&shown, "Version").context("a package without a version")?;
    let depends = apt::field(&shown, "Depends").unwrap_or_default();
    let image = dependencies(depends)
        .find(|name| name.starts_with("linux-image-") && !name.ends_with("-dbg"))
        .with_context(|| format!("{meta} depends on no linux-image-…: {depends}"))?;
    Ok(Offer {
        version: version.to_owned(),
        image: image.to_owned(),
        apt,
    })
}

/// The names in a Depends field, first alternatives only.
fn dependencies(field: &str) -> impl Iterator<Item = &str> {
    field
        .split(',')
        .filter_map(|dependency| dependency.split_whitespace().next())
}

/// The kernel's packages: one up to 6.18, from 6.19 an image that depends on binary, modules and base.
fn packages(offer: &Offer) -> Result<Vec<String>> {
    let release = offer
        .image
        .strip_prefix("linux-image-")
        .context("an image's name starts with linux-image-")?;
    let mut packages = vec![offer.image.clone()];
    let shown = offer.apt.show(&offer.image)?;
    for name in dependencies(apt::field(&shown, "Depends").unwrap_or_default()) {
        if name.ends_with(release) {
            packages.push(name.to_owned());
        }
    }
    Ok(packages)
}

fn unpack(offer: &Offer, dir: &Path) -> Result<()> {
    let work = dir.join("work");
    let debs = work.join("debs");
    let tree = work.join("tree");
    fs::create_dir_all(&debs).with_context(|| format!("creating {}", debs.display()))?;
    offer.apt.download(&packages(offer)?, &debs)?;
    for deb in fs::read_dir(&debs).with_context(|| format!("reading {}", debs.display()))? {
        let mut command = Command::new("dpkg-deb");
        command.arg("-x").arg(deb?.path()).arg(&tree);
        run_quietly(&mut command)?;
    }
    let modules = merge_usr(&tree)?;
    let release = single_entry(&modules)?;
    let vmlinuz = [
        tree.join("boot").join(format!("vmlinuz-{release}")),
        modules.join(&release).join("vmlinuz"),
    ]
    .into_iter()
    .find(|path| path.exists())
    .with_context(|| format!("no vmlinuz in {}", offer.image))?;
    let target = dir.join("vmlinuz");
    fs::rename(&vmlinuz, &target).with_context(|| format!("moving {}", vmlinuz.display()))?;
    run_quietly(Command::new("depmod").arg("-b").arg(&tree).arg(&release))?;
    initramfs::write(&modules.join(&release), &dir.join("initramfs"))?;
    disk::make(
        &dir.join("modules.ext4"),
        &modules,
        "modules",
        disk::Use::ReadOnly,
    )?;
    fs::write(dir.join("release"), &release).context("writing the release")?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))
}

/// Newer packages put modules below /usr/lib, where `depmod -b` does not look: gives them one place.
fn merge_usr(tree: &Path) -> Result<PathBuf> {
    let plain = tree.join("lib/modules");
    let merged = tree.join("usr/lib/modules");
    if !plain.exists() {
        let parent = tree.join("lib");
        fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
        fs::rename(&merged, &plain).with_context(|| format!("moving {}", merged.display()))?;
    }
    Ok(plain)
}

fn single_entry(dir: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match <[String; 1]>::try_from(names) {
        Ok([name]) => Ok(name),
        Err(names) => bail!("expected one kernel's modules in {}: {names:?}", dir.display()),
    }
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
