//! The Debian mirrors this machine itself uses, from its apt configuration in either of its two forms.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, bail};

/// Names a Debian archive to use instead of the host's own, for machines that run something else.
pub(crate) const MIRROR_VARIABLE: &str = "MEMMON_VM_MIRROR";

/// One `deb` source: an archive and the suites taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uri: String,
    pub(crate) suites: Vec<String>,
    pub(crate) components: Vec<String>,
}

/// Where packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    /// The archive: every release is a suite of it.
    pub(crate) archive: String,
    /// The archive of security updates, if the host uses one.
    pub(crate) security: Option<String>,
}

/// Finds the mirrors: `MEMMON_VM_MIRROR`, else the host's apt configuration if the host is Debian.
///
/// # Errors
/// If the host is not Debian, or no archive is configured, and the variable is not set.
pub(crate) fn mirrors() -> Result<Mirrors> {
    if let Ok(archive) = env::var(MIRROR_VARIABLE) {
        return Ok(Mirrors {
            archive,
            security: None,
        });
    }
    let os = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    if !os
        .lines()
        .any(|line| matches!(line, "ID=debian" | "ID=\"debian\""))
    {
        bail!("this is not Debian: set {MIRROR_VARIABLE} to the URI of a Debian archive");
    }
    choose(&read(Path::new("/etc/apt"))?).with_context(|| {
        format!("/etc/apt names no Debian archive with the component main: set {MIRROR_VARIABLE} to one")
    })
}

/// Picks the archive and the security archive among the sources.
fn choose(sources: &[Source]) -> Option<Mirrors> {
    let security = |source: &Source| {
        source
            .suites
            .iter()
            .any(|suite| suite.ends_with("-security") || suite.ends_with("/updates"))
    };
    let mut usable: Vec<&Source> = sources
        .iter()
        .filter(|source| source.components.iter().any(|component| component == "main"))
        .collect();
    // A private mirror may be called anything, but where one is called Debian the others are third parties.
    usable.sort_by_key(|source| !source.uri.contains("debian"));
    Some(Mirrors {
        archive: usable.iter().find(|source| !security(source))?.uri.clone(),
        security: usable
            .iter()
            .find(|source| security(source))
            .map(|s| s.uri.clone()),
    })
}

/// Reads every enabled source below an apt configuration directory.
fn read(apt: &Path) -> Result<Vec<Source>> {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(parts) = fs::read_dir(apt.join("sources.list.d")) {
        let mut parts: Vec<_> = parts.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text = || fs::read_to_string(file).with_context(|| format!("reading {}", file.display()));
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_list(&text()?)),
            Some("sources") => sources.extend(parse_deb822(&text()?)),
            _ => {}
        }
    }
    Ok(sources)
}

/// The one-line form: `deb [options] URI suite component…`.
fn parse_list(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next().unwrap_or_default().trim();
            let mut rest = line.strip_prefix("deb")?;
            if !rest.starts_with([' ', '\t']) {
                return None; // deb-src
            }
            rest = rest.trim_start();
            if rest.starts_with('[') {
                rest = rest.split_once(']')?.1;
            }
            let mut words = rest.split_whitespace().map(str::to_owned);
            Some(Source {
                uri: words.next()?,
                suites: vec![words.next()?],
                components: words.collect(),
            })
        })
        .collect()
}

/// The deb822 form: stanzas of fields, separated by empty lines; a stanza may name several URIs.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for stanza in stanzas(text) {
        let words = |name: &str| -> Vec<String> {
            let field = stanza.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            field
                .map(|(_, value)| value.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default()
        };
        let enabled = !matches!(words("Enabled").first().map(String::as_str), Some("no" | "false"));
        if enabled && words("Types").iter().any(|kind| kind == "deb") {
            sources.extend(words("URIs").into_iter().map(|uri| Source {
                uri,
                suites: words("Suites"),
                components: words("Components"),
            }));
        }
    }
    sources
}

/// Splits deb822 text into stanzas of (field, value), continuation lines joined, comments left out.
fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut stanzas = vec![Vec::<(String, String)>::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let last = stanzas.len() - 1;
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanzas[last].last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanzas[last].push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    stanzas
}

#[cfg(test)]
#[path = "host_sources_tests.rs"]
mod tests;
