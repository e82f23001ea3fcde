//! Who calls: always what the bus says, never what an argument says.

use std::os::fd::OwnedFd;

use zbus::fdo::{self, DBusProxy};
use zbus::message::Header;
use zbus::names::{BusName, UniqueName};
use zbus::{Connection, proxy::CacheProperties};

use crate::attribute::tags::{Image, ProcessKey};
use crate::decode::process::{self, ProcessStat};
use crate::source::process::{ProcessError, ProcessHandle};

/// A caller's credentials, as the bus took them from the kernel when it connected.
#[derive(Debug)]
pub(super) struct Caller {
    /// User.
    pub(super) uid: u32,
    pid: Option<u32>,
    /// dbus-daemon from 1.15.8 and dbus-broker from 34 on kernels from 6.5.
    fd: Option<OwnedFd>,
}

/// The process of a caller, held and verified.
#[derive(Debug)]
pub struct Process {
    /// Which one.
    pub key: ProcessKey,
    /// Its user.
    pub uid: u32,
    /// Name of its main thread.
    pub comm: String,
    /// Its `/proc/PID/cgroup`.
    pub cgroups: String,
    /// Held until its tags are gone.
    pub handle: ProcessHandle,
}

impl Caller {
    /// Asks the bus.
    pub(super) async fn of(connection: &Connection, sender: &UniqueName<'_>) -> fdo::Result<Self> {
        let bus = DBusProxy::builder(connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let credentials = bus
            .get_connection_credentials(BusName::Unique(sender.clone()))
            .await
            .map_err(|error| {
                fdo::Error::AccessDenied(format!("who {sender} is cannot be found out: {error}"))
            })?;
        let uid = credentials
            .unix_user_id()
            .ok_or_else(|| fdo::Error::AccessDenied(format!("the bus does not know the user of {sender}")))?;
        Ok(Self {
            uid,
            pid: credentials.process_id(),
            fd: credentials.into_process_fd().map(Into::into),
        })
    }

    /// Changing anything is for root.
    pub(super) fn require_root(&self, what: &str) -> fdo::Result<()> {
        if self.uid == 0 {
            return Ok(());
        }
        Err(fdo::Error::AccessDenied(format!(
            "{what} is for root only, and the caller is user {}: call it with sudo",
            self.uid
        )))
    }

    /// Holds the process and finds out which it is.
    ///
    /// Where the bus gives no pidfd, the pid may have been reused since the caller connected. It then is a process
    /// of the same user, or it is refused.
    pub(super) fn process(self) -> fdo::Result<Process> {
        let refused = |error: ProcessError| {
            fdo::Error::AccessDenied(format!("the calling process cannot be held: {error}"))
        };
        let handle = match (self.fd, self.pid) {
            (Some(fd), _) => ProcessHandle::from_fd(fd).map_err(refused)?,
            (None, Some(pid)) => ProcessHandle::open(pid).map_err(refused)?,
            (None, None) => {
                return Err(fdo::Error::AccessDenied(
                    "the bus does not know the caller's process, which may be in another pid namespace"
                        .to_owned(),
                ));
            }
        };
        let (key, found) = Process::of(&handle).map_err(refused)?;
        if found.uid != self.uid {
            return Err(fdo::Error::AccessDenied(format!(
                "process {} runs as user {} and its connection is user {}'s: connect again after changing users",
                key.pid, found.uid, self.uid
            )));
        }
        Ok(Process {
            key,
            uid: found.uid,
            comm: found.comm,
            cgroups: found.cgroups,
            handle,
        })
    }
}

/// What is found out about a process besides its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its effective user.
    pub uid: u32,
    /// Name of its main thread.
    pub comm: String,
    /// Its `/proc/PID/cgroup`.
    pub cgroups: String,
}

impl Process {
    /// Which process this is, and what it executes.
    ///
    /// # Errors
    /// If it has ended, or `/proc` does not say.
    pub fn of(handle: &ProcessHandle) -> Result<(ProcessKey, Found), ProcessError> {
        let raw = handle.read()?;
        let pid = handle.pid();
        let unreadable = || ProcessError::Io {
            operation: "understanding /proc of",
            pid,
            source: std::io::ErrorKind::InvalidData.into(),
        };
        let stat = ProcessStat::parse(&raw.stat).ok_or_else(unreadable)?;
        let uid = process::effective_uid(&raw.status).ok_or_else(unreadable)?;
        let image = Image {
            file: raw.file,
            code: stat.code,
            stack: stat.stack,
        };
        let key = ProcessKey {
            pid,
            started: stat.started,
            image,
        };
        let found = Found {
            uid,
            comm: stat.comm,
            cgroups: raw.cgroup,
        };
        Ok((key, found))
    }
}

/// The connection that a call came from.
pub(super) fn sender<'h>(header: &'h Header<'_>) -> fdo::Result<&'h UniqueName<'h>> {
    header.sender().ok_or_else(|| {
        fdo::Error::AccessDenied("the call names no sender: it did not come over a bus".to_owned())
    })
}
