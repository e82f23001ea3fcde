//! apt with a state of its own per suite, so that other releases' packages can be had without touching the
//! host's configuration.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{
    cache,
    command::{output, run_quietly},
    host_sources::Mirrors,
};

/// Debian's own keys, from the package debian-archive-keyring.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt as one suite's machine would see it: only that suite, with its security updates.
pub(crate) struct Apt {
    dir: PathBuf,
    suite: String,
}

impl Apt {
    /// Sets up the state for `suite`.
    pub(crate) fn new(mirrors: &Mirrors, suite: &str) -> Result<Self> {
        let dir = cache::dir()?.join("apt").join(suite);
        for sub in [
            "lists/partial",
            "archives/partial",
            "sources",
            "preferences",
            "empty",
        ] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("creating {}", sub.display()))?;
        }
        let sources = dir.join("sources").join("vm.sources");
        fs::write(&sources, sources_for(mirrors, suite))
            .with_context(|| format!("writing {}", sources.display()))?;
        Ok(Self {
            dir,
            suite: suite.to_owned(),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        let dir = self.dir.display();
        for option in [
            format!("Dir::State={dir}"),
            "Dir::State::status=/dev/null".into(),
            format!("Dir::Cache={dir}"),
            "Dir::Etc::sourcelist=/dev/null".into(),
            format!("Dir::Etc::sourceparts={dir}/sources"),
            "Dir::Etc::preferences=/dev/null".into(),
            format!("Dir::Etc::preferencesparts={dir}/preferences"),
            // Only the keyring above may vouch for a suite, not what the host trusts besides.
            "Dir::Etc::trusted=/dev/null".into(),
            format!("Dir::Etc::trustedparts={dir}/empty"),
            "APT::Architecture=amd64".into(),
            "APT::Architectures=amd64".into(),
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=3".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    /// Fetches the package lists.
    ///
    /// # Errors
    /// If the mirror cannot be reached, has no such suite, or the keyring does not verify it.
    pub(crate) fn update(&self) -> Result<()> {
        let mut command = self.command("apt-get");
        command.args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
        run_quietly(&mut command).with_context(|| {
            format!(
                "fetching the package lists of {} (if its signature cannot be checked, debian-archive-keyring is too old)",
                self.suite
            )
        })
    }

    /// The newest version of a package: its fields in deb822 form.
    pub(crate) fn show(&self, package: &str) -> Result<String> {
        let mut command = self.command("apt-cache");
        command.args(["show", "--no-all-versions", package]);
        output(&mut command).with_context(|| format!("looking up {package} in {}", self.suite))
    }

    /// Downloads packages into `dir`.
    pub(crate) fn download(&self, packages: &[String], dir: &Path) -> Result<()> {
        if packages.is_empty() {
            bail!("nothing to download from {}", self.suite);
        }
        let mut command = self.command("apt-get");
        command.args(["-q", "download"]).args(packages).current_dir(dir);
        run_quietly(&mut command).with_context(|| format!("downloading {}", packages.join(" ")))
    }
}

/// The sources of a suite, deb822.
fn sources_for(mirrors: &Mirrors, suite: &str) -> String {
    let mut text = stanza(&mirrors.archive, suite);
    // Backports and the moving suites have no security archive of their own worth the request.
    let released = !suite.contains('-') && !matches!(suite, "sid" | "unstable" | "forky" | "testing");
    if let (true, Some(security)) = (released, &mirrors.security) {
        text.push_str(&stanza(security, &format!("{suite}-security")));
    }
    text
}

fn stanza(uri: &str, suite: &str) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n\n"
    );
    text
}

/// The value of a deb822 field in the first stanza that has it.
pub(crate) fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza
        .lines()
        .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// Whether version `a` is newer than `b`, by dpkg's rules.
pub(crate) fn newer(a: &str, b: &str) -> Result<bool> {
    let mut command = Command::new("dpkg");
    command.args(["--compare-versions", a, "gt", b]);
    Ok(command.status().context("starting dpkg")?.success())
}
