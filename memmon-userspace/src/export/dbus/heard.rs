//! The service's signals as a client hears them.

use std::collections::HashMap;

use futures_util::{Stream, StreamExt as _};
use zbus::{Message, OwnedVariant};

/// A signal. The texts are the service's, which had some of them from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Memory that should stay in RAM went to swap.
    AlarmRaised {
        /// Names the alarm until it is cleared.
        id: String,
        /// About which unit.
        unit: String,
        /// `warning` or `critical`.
        severity: String,
        /// Why, in words.
        reason: String,
    },
    /// That is over.
    AlarmCleared {
        /// Which.
        id: String,
    },
    /// A limit has another value; `u64::MAX` is none.
    LimitChanged {
        /// Of which unit.
        unit: String,
        /// Which limit.
        property: String,
        /// Before, bytes.
        old: u64,
        /// Now, bytes.
        new: u64,
        /// Why, in words.
        reason: String,
    },
    /// The processes of a unit are asked to let go of memory.
    ReleaseRequested {
        /// Which unit.
        unit: String,
        /// How much would help.
        bytes: u64,
    },
}

type Raised = (String, String, String, String, HashMap<String, OwnedVariant>);

impl Heard {
    /// Reads a signal; `None` if it is none of these.
    fn read(message: &Message) -> Option<Self> {
        let header = message.header();
        let body = message.body();
        match header.member()?.as_str() {
            "AlarmRaised" => {
                let (id, unit, severity, reason, _) = body.deserialize::<Raised>().ok()?;
                Some(Self::AlarmRaised {
                    id,
                    unit,
                    severity,
                    reason,
                })
            }
            "AlarmCleared" => Some(Self::AlarmCleared {
                id: body.deserialize().ok()?,
            }),
            "LimitChanged" => {
                let (unit, property, old, new, reason) = body.deserialize().ok()?;
                Some(Self::LimitChanged {
                    unit,
                    property,
                    old,
                    new,
                    reason,
                })
            }
            "ReleaseRequested" => {
                let (unit, bytes) = body.deserialize().ok()?;
                Some(Self::ReleaseRequested { unit, bytes })
            }
            _ => None,
        }
    }

    /// The signals among `messages`.
    pub(super) fn all(messages: impl Stream<Item = Message>) -> impl Stream<Item = Self> {
        messages.filter_map(|message| std::future::ready(Self::read(&message)))
    }
}
