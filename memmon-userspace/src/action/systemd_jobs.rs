//! What the executor and the task that talks to systemd tell each other.

use std::io;
use std::path::PathBuf;

use zbus::DBusError;

use super::systemd_plan::{DropInStep, UnitFacts};
use crate::decode::Limit;
use crate::policy::{LeaseId, Property};

/// Something to ask of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// What systemd has for the unit of a lease.
    Inspect {
        /// The lease.
        lease: LeaseId,
        /// Its unit.
        unit: String,
        /// Have systemd write the unit's limits first, which after a reload it may still have to do.
        apply: bool,
    },
    /// Set properties of a unit, all or none, until the next boot.
    Set {
        /// The lease.
        lease: LeaseId,
        /// Its unit.
        unit: String,
        /// What to set.
        values: Vec<(Property, Limit)>,
    },
    /// Put drop-ins right and have systemd read its configuration once.
    Restore(Vec<Restoration>),
}

/// One lease's part of a [`Job::Restore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restoration {
    /// The lease.
    pub lease: LeaseId,
    /// Its unit.
    pub unit: String,
    /// What to do with the drop-in.
    pub drop_in: DropInStep,
    /// Whether systemd has to read its configuration.
    pub reload: bool,
    /// Have systemd write the unit's limits after that: something else will be written over one of them.
    pub apply: bool,
}

/// The answer to a job.
#[derive(Debug)]
pub enum Report {
    /// To [`Job::Inspect`].
    Inspected {
        /// The lease.
        lease: LeaseId,
        /// What systemd has.
        facts: Result<UnitFacts, SystemdError>,
    },
    /// To [`Job::Set`].
    Set {
        /// The lease.
        lease: LeaseId,
        /// Whether systemd took it.
        result: Result<(), SystemdError>,
    },
    /// To each part of a [`Job::Restore`].
    Restored {
        /// The lease.
        lease: LeaseId,
        /// What systemd has now.
        facts: Result<UnitFacts, SystemdError>,
    },
}

/// systemd did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// No answer, or no bus: to be tried again.
    #[error("systemd cannot be reached ({operation} {object}): {reason}")]
    Unreachable {
        /// What was asked.
        operation: &'static str,
        /// Of what.
        object: String,
        /// Why there was no answer.
        reason: String,
    },
    /// systemd said no.
    #[error("systemd refused {operation} {object}: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Of what.
        object: String,
        /// systemd's words.
        reason: String,
    },
    /// A drop-in could not be read or put right.
    #[error("cannot {operation} {path}: {source}")]
    DropIn {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl SystemdError {
    /// What `error`, the answer to a call, means.
    pub(super) fn call(operation: &'static str, object: &str, error: zbus::Error) -> Self {
        // What the bus, not systemd, answers when systemd does not.
        const NO_ANSWER: [&str; 7] = [
            "org.freedesktop.DBus.Error.NoReply",
            "org.freedesktop.DBus.Error.Timeout",
            "org.freedesktop.DBus.Error.TimedOut",
            "org.freedesktop.DBus.Error.ServiceUnknown",
            "org.freedesktop.DBus.Error.NameHasNoOwner",
            "org.freedesktop.DBus.Error.Disconnected",
            "org.freedesktop.DBus.Error.LimitsExceeded",
        ];
        let object = object.to_owned();
        let answer = match &error {
            zbus::Error::MethodError(name, text, _) => Some((name.to_string(), text.clone())),
            zbus::Error::FDO(fdo) => match &**fdo {
                zbus::fdo::Error::ZBus(_) => None,
                answer => Some((answer.name().to_string(), answer.description().map(Into::into))),
            },
            _ => None,
        };
        match answer {
            Some((name, text)) if !NO_ANSWER.contains(&name.as_str()) => Self::Refused {
                operation,
                object,
                reason: text.unwrap_or(name),
            },
            _ => Self::Unreachable {
                operation,
                object,
                reason: error.to_string(),
            },
        }
    }

    /// Trying again later may help.
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Report {
    /// systemd could not be reached.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Inspected { facts, .. } | Self::Restored { facts, .. } => {
                facts.as_ref().is_err_and(SystemdError::is_unreachable)
            }
            Self::Set { result, .. } => result.as_ref().is_err_and(SystemdError::is_unreachable),
        }
    }
}
