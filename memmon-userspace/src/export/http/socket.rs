//! Where the server listens.

use std::{
    fmt, io,
    net::{self, SocketAddr},
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::{
            self,
            fs::{FileTypeExt as _, PermissionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Listen;

/// The owner and the group of the socket may connect.
const MODE: u32 = 0o660;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The address cannot be bound.
    #[error("listening on {address}: {source}; choose another with `listen` in memmon.toml")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("listening on {}: {source}; choose another path with `listen` in memmon.toml", path.display())]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the service manager handed over cannot be used.
    #[error("the sockets of the service manager (memmon.socket) cannot be used: {0}")]
    Inherited(io::Error),
}

/// A listening socket, not yet served.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(net::TcpListener),
    /// A UNIX stream socket.
    Unix(unix::net::UnixListener),
}

/// One that is served.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(_) => f.write_str("a TCP socket"),
            },
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                write!(f, "unix:{}", path.unwrap_or(Path::new("?")).display())
            }
        }
    }
}

impl Listener {
    /// Must be called inside the runtime that serves it.
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
            Self::Unix(listener) => Stream::Unix(listener.accept().await?.0),
        })
    }

    /// Whether a browser could be made to connect.
    pub(super) const fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

impl Socket {
    /// Whether another machine can connect.
    pub fn is_reachable_from_elsewhere(&self) -> bool {
        match self {
            Self::Tcp(listener) => !listener
                .local_addr()
                .is_ok_and(|address| address.ip().is_loopback()),
            Self::Unix(_) => false,
        }
    }
}

/// Opens what is to be listened on: the sockets that the service manager hands over, or else what `listen` says.
///
/// Must be called once.
///
/// # Errors
/// If a socket cannot be made or used.
pub fn open(listen: &Listen) -> Result<Vec<Socket>, SocketError> {
    let inherited = inherited().map_err(SocketError::Inherited)?;
    if !inherited.is_empty() {
        return Ok(inherited);
    }
    Ok(match listen {
        Listen::Nowhere => Vec::new(),
        Listen::Tcp(address) => vec![tcp(*address)?],
        Listen::Unix(path) => vec![at_path(path)?],
    })
}

fn inherited() -> io::Result<Vec<Socket>> {
    sd_notify::listen_fds()?
        .map(|fd| {
            // SAFETY: the service manager opened it for this process, and nobody else here asks for these.
            from_fd(unsafe { OwnedFd::from_raw_fd(fd) })
        })
        .collect()
}

pub(super) fn from_fd(fd: OwnedFd) -> io::Result<Socket> {
    let listener = net::TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    // Its address is one of the internet only if the socket is.
    if listener.local_addr().is_ok() {
        return Ok(Socket::Tcp(listener));
    }
    let listener = unix::net::UnixListener::from(OwnedFd::from(listener));
    listener.local_addr()?;
    Ok(Socket::Unix(listener))
}

pub(super) fn tcp(address: SocketAddr) -> Result<Socket, SocketError> {
    let bind = || {
        let listener = net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind()
        .map(Socket::Tcp)
        .map_err(|source| SocketError::Tcp { address, source })
}

/// Makes the socket, in the place of one that nobody listens on any more.
pub(super) fn at_path(path: &Path) -> Result<Socket, SocketError> {
    let bind = || {
        let left = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if left
            && let Err(error) = unix::net::UnixStream::connect(path)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            std::fs::remove_file(path)?;
        }
        let listener = unix::net::UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        Ok(listener)
    };
    bind().map(Socket::Unix).map_err(|source| SocketError::Unix {
        path: path.to_owned(),
        source,
    })
}
