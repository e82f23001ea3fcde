//! `listen`: where metrics are served.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// `sun_path` of unix(7), without the NUL.
const SOCKET_PATH_MAX: usize = 107;

/// Where metrics and the web page are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Nowhere,
    /// TCP.
    Tcp(SocketAddr),
    /// A UNIX stream socket.
    Unix(PathBuf),
}

impl Listen {
    /// Whether other hosts may get there.
    pub fn is_reachable_from_elsewhere(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

impl FromStr for Listen {
    type Err = String;

    /// The error says what is wrong and what to write.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Nowhere);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                _ if !path.starts_with('/') => {
                    Err("is not an absolute path: write \"unix:/run/memmon/http.sock\"".to_owned())
                }
                _ if path.len() > SOCKET_PATH_MAX || path.contains('\0') => Err(format!(
                    "cannot be the path of a socket: use at most {SOCKET_PATH_MAX} bytes, none of them NUL"
                )),
                _ => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => {
                Err("has port 0, where nobody finds it: choose a port, such as 9757".to_owned())
            }
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) => Err("is not an address: write \"127.0.0.1:9757\", \"[::1]:9757\", \
                           \"unix:/run/memmon/http.sock\", or \"\" for nowhere (host names are not looked up)"
                .to_owned()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => Ok(()),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
