//! How tight memory is on the host.

use crate::config::Thresholds;
use crate::decode::MemInfo;

/// How tight memory is on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Situation {
    /// Nothing to do.
    #[default]
    Normal,
    /// From `ram_high`.
    High,
    /// From `ram_critical`.
    Critical,
}

impl Situation {
    /// The name used in JSON, metrics and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// The situation, given the one before: a threshold that was passed holds until the use of RAM has fallen
/// below it by the hysteresis.
pub fn situation(host: &MemInfo, thresholds: &Thresholds, before: Situation) -> Situation {
    if host.total == 0 {
        return before;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction; 52 bits of bytes are enough"
    )]
    let used = host.total.saturating_sub(host.available) as f64 / host.total as f64;
    let holds = |threshold: f64, level: Situation| {
        used >= if before >= level {
            threshold - thresholds.hysteresis
        } else {
            threshold
        }
    };
    if holds(thresholds.ram_critical, Situation::Critical) {
        Situation::Critical
    } else if holds(thresholds.ram_high, Situation::High) {
        Situation::High
    } else {
        Situation::Normal
    }
}
