//! Who may see the facts.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::params::Problem;
use crate::export::http;

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;
/// Longer ones do not fit everywhere.
const LONGEST: usize = 256;
/// The cookie of a browser that has shown the token.
const COOKIE: &str = "memmon";
const SCHEME: &str = "Bearer ";

/// A secret that viewers must know.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("reading the page's token from {}: {source}; `token_file` in [http] of memmon.toml names the file", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could read or replace it.
    #[error("the page's token in {} is not safe there (mode {mode:03o}): chmod 600 the file", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no token.
    #[error(
        "{} has no token of {SHORTEST} to {LONGEST} letters, digits or characters of -._~+/= on one line: \
         (umask 077; head -c 24 /dev/urandom | base64 > {}) makes one", path.display(), path.display()
    )]
    Unusable {
        /// Which.
        path: PathBuf,
    },
}

impl Token {
    /// Reads it from a file that only its owner can read.
    ///
    /// # Errors
    /// If it cannot be read, others can read it, or it is too short or has other characters than a cookie may have.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = String::new();
        // With a line's end on each side, and one byte to notice that it is too long.
        file.take(LONGEST as u64 + 5)
            .read_to_string(&mut text)
            .map_err(failed)?;
        Self::new(text.trim()).ok_or_else(|| TokenError::Unusable {
            path: path.to_owned(),
        })
    }

    /// This one; `None` if it is too short, too long, or has other characters than a cookie may have.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        ((SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(fits))
            .then(|| Self(Arc::from(text.as_bytes())))
    }

    /// Takes as long for one wrong byte as for all.
    fn is(&self, given: &[u8]) -> bool {
        let differences = self.0.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
        self.0.len() == given.len() && std::hint::black_box(differences) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Decides about each request for facts.
#[derive(Clone, Debug)]
pub enum Guard {
    /// For this host: requests must be for a loopback address or `localhost`. A name means that a proxy stands between.
    Local,
    /// For everybody who knows the token.
    Token(Token),
}

impl Guard {
    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::Local if http::is_for_loopback(headers) => Ok(()),
            Self::Local => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "this page is for the host itself",
                "ask for 127.0.0.1 or localhost (ssh -L), or set `token_file` in [http] of memmon.toml",
            )),
            Self::Token(token) if shown(headers).any(|given| token.is(given.as_bytes())) => Ok(()),
            Self::Token(_) => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "the token is missing or wrong",
                "send what is in `token_file`, as `Authorization: Bearer TOKEN`",
            )),
        }
    }

    /// The cookie for a browser that has shown the token in a header, which no page from elsewhere can make it do.
    pub(super) fn cookie(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let Self::Token(wanted) = self else { return None };
        let token = bearer(headers).filter(|given| wanted.is(given.as_bytes()))?;
        HeaderValue::from_str(&format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict")).ok()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim())
}

/// Every token that a request shows.
fn shown(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    bearer(headers).into_iter().chain(cookies)
}

/// Lets a request through, or answers it.
pub(super) async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    // A page from elsewhere could not read the answer, but would take a viewer's place.
    let site = headers
        .get("sec-fetch-site")
        .map(HeaderValue::as_bytes)
        .unwrap_or(b"none");
    if site != b"none" && site != b"same-origin" {
        let problem = Problem::new(
            StatusCode::FORBIDDEN,
            "another site asks for this",
            "open memmon's own page",
        );
        return problem.into_response();
    }
    match guard.check(headers) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}
