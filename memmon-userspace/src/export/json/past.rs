//! `memmon.past/1`: a span of a unit's history as columns, for charts.

use serde::Serialize;

use super::forecast::ForecastField;
use crate::record::{EventRow, SeriesPoint};

/// Moments in one document.
pub const MOMENTS: usize = 1000;

/// A unit from one moment to another. The columns are equally long.
#[derive(Clone, Debug, Serialize)]
pub struct PastDocument {
    /// `memmon.past/1`.
    pub schema: &'static str,
    /// A unit, or the host.
    pub unit: String,
    /// Wall time, seconds since 1970.
    pub from: i64,
    /// Likewise, not included.
    pub to: i64,
    /// When each row begins.
    pub at: Vec<i64>,
    /// Mean of memory in use.
    pub memory_bytes: Vec<i64>,
    /// Its peak.
    pub memory_peak_bytes: Vec<i64>,
    /// The least limit that applied; null for none.
    pub memory_limit_bytes: Vec<Option<i64>>,
    /// Mean of swap in use.
    pub swap_bytes: Vec<i64>,
    /// Pages swapped out until the next row.
    pub swapped_out_pages: Vec<i64>,
    /// Time that some task was stalled on memory, microseconds.
    pub stalled_us: Vec<i64>,
    /// Alarms that were raised or cleared.
    pub alarms: Vec<PastAlarm>,
    /// Of its memory, from the last hours; null without a limit.
    pub forecast: Option<ForecastField>,
}

/// An alarm began or ended.
#[derive(Clone, Debug, Serialize)]
pub struct PastAlarm {
    /// Wall time, seconds since 1970.
    pub at: i64,
    /// About which unit.
    pub unit: Option<String>,
    /// It began.
    pub raised: bool,
}

impl PastDocument {
    /// Of these rows, put together until they are not more than [`MOMENTS`].
    pub fn new(unit: String, (from, to): (i64, i64), rows: &[SeriesPoint]) -> Self {
        let rows = thinned(rows);
        let column = |value: fn(&SeriesPoint) -> i64| rows.iter().map(value).collect();
        Self {
            schema: "memmon.past/1",
            unit,
            from,
            to,
            at: column(|row| row.at),
            memory_bytes: column(|row| row.memory_bytes),
            memory_peak_bytes: column(|row| row.memory_peak_bytes),
            memory_limit_bytes: rows.iter().map(|row| row.memory_limit_bytes).collect(),
            swap_bytes: column(|row| row.swap_bytes),
            swapped_out_pages: column(|row| row.swapped_out_pages),
            stalled_us: column(|row| row.stalled_us),
            alarms: Vec::new(),
            forecast: None,
        }
    }
}

impl From<EventRow> for PastAlarm {
    fn from(event: EventRow) -> Self {
        Self {
            at: event.at,
            unit: event.unit,
            raised: event.kind == crate::record::EventKind::Alarm.as_str(),
        }
    }
}

/// Means of means, peaks of peaks, sums of sums.
fn thinned(rows: &[SeriesPoint]) -> Vec<SeriesPoint> {
    let together = rows.len().div_ceil(MOMENTS).max(1);
    rows.chunks(together)
        .map(|rows| {
            let count = i64::try_from(rows.len()).unwrap_or(1);
            let sum = |value: fn(&SeriesPoint) -> i64| rows.iter().map(value).sum::<i64>();
            let peak = |value: fn(&SeriesPoint) -> i64| rows.iter().map(value).max().unwrap_or(0);
            SeriesPoint {
                at: rows[0].at,
                memory_bytes: sum(|row| row.memory_bytes) / count,
                memory_peak_bytes: peak(|row| row.memory_peak_bytes),
                memory_limit_bytes: rows[0].memory_limit_bytes,
                swap_bytes: sum(|row| row.swap_bytes) / count,
                swap_peak_bytes: peak(|row| row.swap_peak_bytes),
                swapped_out_pages: sum(|row| row.swapped_out_pages),
                stalled_us: sum(|row| row.stalled_us),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_put_together_and_nothing_is_lost() {
        let row = |at| SeriesPoint {
            at,
            memory_bytes: at * 10,
            memory_peak_bytes: at * 20,
            memory_limit_bytes: None,
            swap_bytes: 4,
            swap_peak_bytes: 4,
            swapped_out_pages: 1,
            stalled_us: 2,
        };
        let rows: Vec<_> = (0..2500).map(row).collect();
        let document = PastDocument::new("a.service".into(), (0, 2500), &rows);
        assert_eq!(document.at.len(), 834);
        assert!(document.at.len() <= MOMENTS);
        assert_eq!(document.swapped_out_pages.iter().sum::<i64>(), 2500);
        assert_eq!(document.stalled_us.iter().sum::<i64>(), 5000);
        assert_eq!(document.memory_peak_bytes.iter().max(), Some(&(2499 * 20)));
        assert_eq!((document.at[1], document.memory_bytes[1]), (3, 40));
        let few = PastDocument::new("a.service".into(), (0, 9), &rows[..9]);
        assert_eq!(few.memory_bytes[8], 80);
        assert!(PastDocument::new("a.service".into(), (0, 9), &[]).at.is_empty());
    }
}
