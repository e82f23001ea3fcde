//! `[alerts]` and `[http]`: where alarms are sent, and what the server shows to whom.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::merge::Set;

/// `[alerts]`: where alarms are sent besides the journal and D-Bus. Nowhere, as shipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    /// Base addresses of Alertmanagers; a cluster's are all told.
    pub alertmanager: Vec<Url>,
    /// Addresses that take a JSON document by POST.
    pub webhook: Vec<Url>,
    /// A program with its arguments, which gets the JSON document on its standard input; empty for none.
    pub exec: Vec<String>,
}

/// `[http]`: the server at `listen`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Names that requests may be for, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Serve the web page as well.
    pub page: bool,
    /// Who sees the page's facts must know what is in this file; `None`: the page is for this host only.
    pub token_file: Option<PathBuf>,
}

/// An `http://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(hyper::Uri);

impl Url {
    /// For the client.
    pub const fn uri(&self) -> &hyper::Uri {
        &self.0
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Url {
    type Err = String;

    /// The error says what is wrong and what to write.
    fn from_str(text: &str) -> Result<Self, String> {
        let want = "write an address such as \"http://127.0.0.1:9093\"";
        let uri: hyper::Uri = text
            .parse()
            .map_err(|error| format!("is not an address ({error}): {want}"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("https"), _) => Err(
                "is encrypted, which memmon does not do: write the address of a proxy on this host, or use `exec`"
                    .to_owned(),
            ),
            (Some("http"), Some(host)) if !host.is_empty() => Ok(Self(uri)),
            _ => Err(format!("is not an address: {want}")),
        }
    }
}

/// The values read so far.
#[derive(Clone, Debug, Default)]
pub(super) struct AlertsDraft {
    pub(super) alertmanager: Option<Set<Vec<Url>>>,
    pub(super) webhook: Option<Set<Vec<Url>>>,
    pub(super) exec: Option<Set<Vec<String>>>,
    pub(super) hosts: Option<Set<Vec<String>>>,
    pub(super) page: Option<Set<bool>>,
    pub(super) token_file: Option<Set<Option<PathBuf>>>,
}

/// Checks what stands first in `exec`.
pub(super) fn check_program(program: &str) -> Result<(), String> {
    if Path::new(program).is_absolute() {
        Ok(())
    } else {
        Err(
            "does not begin with an absolute path: write [\"/usr/local/bin/on-alarm\", \"argument\"]"
                .to_owned(),
        )
    }
}

/// Reads `token_file`; empty for none.
pub(super) fn token_file(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "" => Ok(None),
        _ if text.starts_with('/') && !text.contains('\0') => Ok(Some(PathBuf::from(text))),
        _ => Err(
            "is not an absolute path: write \"/etc/memmon/web.token\", or \"\" for a page without a token"
                .to_owned(),
        ),
    }
}

/// Checks a name for `hosts`.
pub(super) fn check_host(name: &str) -> Result<(), String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !name.is_empty() && name.chars().all(letter) {
        Ok(())
    } else {
        Err(format!(
            "has {name:?}, which is not a host's name: write it without scheme and port"
        ))
    }
}
