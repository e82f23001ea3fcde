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
        let raw = handle.read().map_err(refused)?;
        let pid = handle.pid();
        let unreadable = || fdo::Error::Failed(format!("/proc/{pid} does not say what proc(5) promises"));
        let stat = ProcessStat::parse(&raw.stat).ok_or_else(unreadable)?;
        let uid = process::effective_uid(&raw.status).ok_or_else(unreadable)?;
        if uid != self.uid {
            return Err(fdo::Error::AccessDenied(format!(
                "process {pid} runs as user {uid} and its connection is user {}'s: connect again after changing users",
                self.uid
            )));
        }
        Ok(Process {
            key: ProcessKey {
                pid,
                started: stat.started,
                image: Image {
                    file: raw.file,
                    code: stat.code,
                    stack: stat.stack,
                },
            },
            uid,
            comm: stat.comm,
            cgroups: raw.cgroup,
            handle,
        })
    }
}

/// The connection that a call came from.
pub(super) fn sender<'h>(header: &'h Header<'_>) -> fdo::Result<&'h UniqueName<'h>> {
    header.sender().ok_or_else(|| {
        fdo::Error::AccessDenied("the call names no sender: it did not come over a bus".to_owned())
    })
}
