//! The web page: put together for the agent, and tried in a browser.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::build::{cargo, root, run, target_dir};

/// What the page is made from.
const SOURCES: [&str; 4] = ["package.json", "package-lock.json", "build.mjs", "src"];

/// Puts the page together and returns the directory of its files, which change only when the page does.
///
/// # Errors
/// If npm or node is missing, or fails.
pub(crate) fn page() -> Result<PathBuf> {
    let dir = target_dir().join("web");
    for name in SOURCES {
        copy(&source().join(name), &dir.join(name))?;
    }
    install(&dir, &["--omit=dev"])
        .context("the web page needs node and npm: cargo xtask setup installs them")?;
    let dist = dir.join("dist");
    run(Command::new("node").arg("build.mjs").arg(&dist).current_dir(&dir))?;
    Ok(dist)
}

/// Tries the page in a headless Chromium, against a made-up agent.
///
/// # Errors
/// If something cannot be built, or the page is not as it should be.
pub(crate) fn test() -> Result<()> {
    let dist = page()?;
    // Built as the other tests are: the page is read from where it lies.
    run(cargo().args([
        "build",
        "--locked",
        "--package",
        "memmon-tests",
        "--bin",
        "web-demo",
    ]))?;
    let dir = driver()?;
    let mut page = Command::new("node");
    page.arg("test/page.mjs")
        .arg("--server")
        .arg(target_dir().join("debug").join("web-demo"))
        .arg("--dist")
        .arg(&dist)
        .arg("--screens")
        .arg(root().join("docs").join("screens"))
        .current_dir(&dir);
    run(&mut page)
}

/// What drives the browser, ready to be run: its directory.
///
/// # Errors
/// If npm is missing, or fails.
pub(crate) fn driver() -> Result<PathBuf> {
    let dir = target_dir().join("web-test");
    for name in SOURCES.into_iter().take(2).chain(["test"]) {
        copy(&source().join(name), &dir.join(name))?;
    }
    install(&dir, &[])?;
    Ok(dir)
}

/// How long the browser waits for each thing that has to appear, seconds: the machine it appears on is emulated.
const PATIENCE: &str = "300";

/// Watches a running agent's page, at a port of the loopback: an alarm of `unit` has to appear, with the pages that
/// went out, and to go again. [`driver`] has been called before.
///
/// # Errors
/// If something does not come in time, or the browser finds fault with the page.
pub(crate) fn watch(port: u16, unit: &str, told: impl Fn(&str)) -> Result<()> {
    let url = format!("http://127.0.0.1:{port}/");
    let output = Command::new("node")
        .args(["test/page.mjs", "--url", &url, "--expect", "both", "--unit", unit])
        .args(["--deadline", PATIENCE])
        .current_dir(target_dir().join("web-test"))
        .output()
        .context("starting node")?;
    String::from_utf8_lossy(&output.stdout).lines().for_each(told);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{unit}: {}: {}", output.status, why.trim_end());
    }
    Ok(())
}

fn source() -> PathBuf {
    root().join("web")
}

/// Installs the locked packages into `dir`, unless these are there. None of them runs anything while it is installed.
fn install(dir: &Path, more: &[&str]) -> Result<()> {
    let lock = dir.join("package-lock.json");
    let locked = fs::read(&lock).with_context(|| format!("reading {}", lock.display()))?;
    // Written last: without it, an installation is of another lock file, or was not finished.
    let stamp = dir.join("node_modules").join("installed.json");
    if fs::read(&stamp).ok().as_deref() == Some(&locked) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(more)
        .current_dir(dir);
    run(&mut npm)?;
    fs::write(&stamp, &locked).with_context(|| format!("writing {}", stamp.display()))
}

/// Makes `to` the same as `from`, a file or a directory; what is not in `from` goes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        return fs::copy(from, to)
            .map(drop)
            .with_context(|| format!("copying {}", from.display()));
    }
    if !from.is_dir() {
        bail!("{} is missing", from.display());
    }
    let names = |dir: &Path| -> Result<Vec<OsString>> {
        let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
        entries
            .map(|entry| {
                Ok(entry
                    .with_context(|| format!("reading {}", dir.display()))?
                    .file_name())
            })
            .collect()
    };
    let wanted = names(from)?;
    if to.is_dir() {
        for stale in names(to)?.iter().filter(|name| !wanted.contains(name)) {
            let stale = to.join(stale);
            let gone = if stale.is_dir() {
                fs::remove_dir_all(&stale)
            } else {
                fs::remove_file(&stale)
            };
            gone.with_context(|| format!("removing {}", stale.display()))?;
        }
    }
    wanted
        .iter()
        .try_for_each(|name| copy(&from.join(name), &to.join(name)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_whatever_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/file"), "new").unwrap();
        fs::create_dir_all(to.join("stale")).unwrap();
        fs::write(to.join("old"), "old").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep/file")).unwrap(), "new");
        assert!(!to.join("stale").exists() && !to.join("old").exists());
        assert!(copy(&dir.path().join("none"), &to).is_err());
    }

    /// No name of a registry is in it: packages come from the one that npm is set up for.
    #[test]
    fn the_lock_file_pins_versions_and_names_no_registry() {
        let lock = fs::read_to_string(source().join("package-lock.json")).unwrap();
        assert!(lock.contains("\"node_modules/uplot\"") && lock.contains("\"integrity\": \"sha512-"));
        assert!(!lock.contains("\"resolved\""));
        let package = fs::read_to_string(source().join("package.json")).unwrap();
        assert!(!package.contains('^') && !package.contains('~'), "{package}");
    }
}
