//! What the service tells without being asked.

use std::collections::HashMap;

use zbus::Variant;
use zbus::object_server::SignalEmitter;

use super::manager::Manager;
use crate::decode::Limit;
use crate::policy::{Property, Severity};

/// A signal. Everybody hears it, so it carries facts about units and no process ids or addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Memory that should stay in RAM went to swap, or something will soon be used up.
    AlarmRaised {
        /// Names the alarm until it is cleared; never used twice.
        id: String,
        /// About which unit; `(host)` is the host.
        unit: String,
        /// How bad it is.
        severity: Severity,
        /// Why, in words.
        reason: String,
        /// The figures.
        details: Details,
    },
    /// That is over.
    AlarmCleared {
        /// Which.
        id: String,
    },
    /// A limit has another value.
    LimitChanged {
        /// Of which unit.
        unit: String,
        /// Which limit.
        property: Property,
        /// Before.
        old: Limit,
        /// Now.
        new: Limit,
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

/// The details of an alarm; keys of the signal's dictionary are named like these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Pages that had gone to swap when it was raised.
    pub pages: u64,
    /// The unit's priority.
    pub priority: String,
    /// The unit's cgroup; absent if unknown.
    pub cgroup: Option<String>,
    /// On what occasion, as in `memmon trace --json`; `forecast` if it is about one.
    pub kind: String,
    /// Unit that pushed them out, or the name of the task.
    pub reclaimer: String,
    /// What memmon does about it, one sentence a step.
    pub plan: Vec<String>,
    /// The tagged region that was hit; absent if it is about the unit as a whole.
    pub region: Option<String>,
    /// What is forecast; no pages have gone to swap and nobody has pushed them out then.
    pub outlook: Option<OutlookDetails>,
}

/// What is forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlookDetails {
    /// `ram`, `swap` or `memory_max`.
    pub resource: &'static str,
    /// In use of it, bytes.
    pub used: u64,
    /// How much there is of it, bytes.
    pub limit: u64,
    /// When it will be used up, at the earliest; seconds.
    pub earliest: u64,
    /// At the latest.
    pub latest: u64,
}

impl Details {
    fn dictionary(&self) -> HashMap<&str, Variant<'_>> {
        let mut all: HashMap<&str, Variant<'_>> = HashMap::from([
            ("priority", Variant::from(self.priority.as_str())),
            ("kind", Variant::from(self.kind.as_str())),
            ("plan", Variant::from(self.plan.clone())),
        ]);
        match &self.outlook {
            None => all.extend([
                ("pages", Variant::from(self.pages)),
                ("reclaimer", Variant::from(self.reclaimer.as_str())),
            ]),
            Some(outlook) => all.extend([
                ("resource", Variant::from(outlook.resource)),
                ("used", Variant::from(outlook.used)),
                ("limit", Variant::from(outlook.limit)),
                ("earliest", Variant::from(outlook.earliest)),
                ("latest", Variant::from(outlook.latest)),
            ]),
        }
        all.extend(self.cgroup.as_deref().map(|cgroup| ("cgroup", cgroup.into())));
        all.extend(self.region.as_deref().map(|region| ("region", region.into())));
        all
    }
}

/// systemd's way of writing a limit as a number.
fn number(limit: Limit) -> u64 {
    match limit {
        Limit::Bytes(bytes) => bytes,
        Limit::Max => u64::MAX,
    }
}

impl Signal {
    /// Sends it.
    pub(super) async fn emit(&self, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
        match self {
            Self::AlarmRaised {
                id,
                unit,
                severity,
                reason,
                details,
            } => {
                let details = details.dictionary();
                Manager::alarm_raised(emitter, id, unit, severity.as_str(), reason, details).await
            }
            Self::AlarmCleared { id } => Manager::alarm_cleared(emitter, id).await,
            Self::LimitChanged {
                unit,
                property,
                old,
                new,
                reason,
            } => {
                let (old, new) = (number(*old), number(*new));
                Manager::limit_changed(emitter, unit, property.as_str(), old, new, reason).await
            }
            Self::ReleaseRequested { unit, bytes } => Manager::release_requested(emitter, unit, *bytes).await,
        }
    }
}
