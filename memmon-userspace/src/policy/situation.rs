//! How tight memory is on the host.

use super::MonoTime;
use super::host::{HostSnapshot, share};
use crate::config::Thresholds;
use crate::decode::MemInfo;

/// How tight memory is on the host.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
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
    let used = host.ram_used();
    let holds = |threshold: f64, level: Situation| passed(used, threshold, before >= level, thresholds);
    if holds(thresholds.ram_critical, Situation::Critical) {
        Situation::Critical
    } else if holds(thresholds.ram_high, Situation::High) {
        Situation::High
    } else {
        Situation::Normal
    }
}

fn passed(value: f64, threshold: f64, before: bool, thresholds: &Thresholds) -> bool {
    value
        >= if before {
            threshold - thresholds.hysteresis
        } else {
            threshold
        }
}

/// The situation over time: the pure state machine of RAM and, apart from it, of swap.
///
/// It worsens at once. It eases, by as many steps as the figures say, when the value has fallen below the
/// threshold by the hysteresis *and* the situation has lasted for the dwell: a situation that came and went
/// with every tick would start and end strategies with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SituationState {
    /// Of RAM.
    pub ram: Situation,
    /// Since when.
    pub ram_since: MonoTime,
    /// Swap is high: what is on disks, or, by its own threshold, what is kept compressed in RAM.
    pub swap_high: bool,
    /// Since when.
    pub swap_since: MonoTime,
}

impl SituationState {
    /// The state after `snapshot`, measured at `now`.
    #[must_use]
    pub fn next(self, snapshot: &HostSnapshot, thresholds: &Thresholds, now: MonoTime) -> Self {
        let dwelt = |since: MonoTime| now.since(since) >= thresholds.dwell;
        let mut next = self;
        let ram = situation(&snapshot.host, thresholds, self.ram);
        if ram > self.ram || (ram < self.ram && dwelt(self.ram_since)) {
            next.ram = ram;
            next.ram_since = now;
        }
        let high = swap_is_high(snapshot, thresholds, self.swap_high);
        if (high && !self.swap_high) || (!high && self.swap_high && dwelt(self.swap_since)) {
            next.swap_high = high;
            next.swap_since = now;
        }
        next
    }

    /// When a situation that the figures no longer support may end, if only the dwell holds it: nothing else
    /// may happen until then, so somebody has to look.
    pub fn look_again(&self, thresholds: &Thresholds, now: MonoTime) -> Option<MonoTime> {
        let ram = (self.ram > Situation::Normal).then(|| self.ram_since.after(thresholds.dwell));
        let swap = self.swap_high.then(|| self.swap_since.after(thresholds.dwell));
        [ram, swap].into_iter().flatten().filter(|at| *at > now).min()
    }
}

/// Disks and compressed swap are judged apart: a page in zram or zswap costs RAM and microseconds, not I/O, so
/// a host may fill it further.
fn swap_is_high(snapshot: &HostSnapshot, thresholds: &Thresholds, before: bool) -> bool {
    let swap = &snapshot.swap;
    let disk = share(swap.disk_used(), swap.disk_total);
    let compressed = swap.compressed();
    let compressed = compressed.and_then(|(used, total)| share(used, total));
    disk.is_some_and(|used| passed(used, thresholds.swap_high, before, thresholds))
        || compressed.is_some_and(|used| passed(used, thresholds.compressed_high, before, thresholds))
}

#[cfg(test)]
#[path = "situation_tests.rs"]
mod tests;
