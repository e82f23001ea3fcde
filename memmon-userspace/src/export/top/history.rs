//! Rates over the last minutes.

use std::{collections::VecDeque, time::Duration};

use super::rates::Gain;

/// One column of a sparkline.
const BUCKET: Duration = Duration::from_secs(10);
/// Columns that are kept: twenty minutes.
const KEPT: usize = 120;

/// Pages and the time they took, in columns of ten seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    columns: VecDeque<Column>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Time since the start of the program, in columns.
    number: u64,
    pages: u64,
    time: Duration,
}

impl History {
    /// Adds what went out until `now`, if that is known.
    pub(super) fn add(&mut self, now: Duration, gain: &Gain) {
        let Some(pages) = gain.pages else { return };
        let time = gain.time;
        let number = now.as_secs() / BUCKET.as_secs();
        match self.columns.back_mut() {
            Some(column) if column.number == number => {
                column.pages = column.pages.saturating_add(pages);
                column.time += time;
            }
            _ => self.columns.push_back(Column { number, pages, time }),
        }
        while self.columns.len() > KEPT {
            self.columns.pop_front();
        }
    }

    /// Pages per second in the last `columns` columns until `now`, oldest first; `None` where nothing was asked.
    pub(super) fn rates(&self, now: Duration, columns: usize) -> Vec<Option<f64>> {
        let last = now.as_secs() / BUCKET.as_secs();
        let wanted = (0..columns as u64).rev().map(|back| last.checked_sub(back));
        wanted
            .map(|number| {
                let column = self
                    .columns
                    .iter()
                    .rev()
                    .find(|column| Some(column.number) == number)?;
                #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
                (!column.time.is_zero()).then(|| column.pages as f64 / column.time.as_secs_f64())
            })
            .collect()
    }
}

/// Height of a rate, 0 to 8: each step is four times as much, so that units can be compared whatever they lose.
pub(super) fn level(rate: f64) -> usize {
    if rate <= 0.0 {
        return 0;
    }
    let mut level = 1;
    let mut top = 1.0;
    while rate > top && level < 8 {
        level += 1;
        top *= 4.0;
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain(pages: u64, seconds: u64) -> Gain {
        Gain::of(Some(0), Some(pages), Duration::from_secs(seconds))
    }

    #[test]
    fn columns_are_averages_and_gaps_stay_gaps() {
        let s = Duration::from_secs;
        let mut history = History::default();
        history.add(s(1), &gain(10, 1));
        history.add(s(2), &gain(30, 1));
        history.add(s(37), &gain(5, 5));
        assert_eq!(history.rates(s(37), 4), [Some(20.0), None, None, Some(1.0)]);
        assert_eq!(history.rates(s(57), 2), [None, None]);
        assert_eq!(
            history.rates(s(37), 6),
            [None, None, Some(20.0), None, None, Some(1.0)]
        );
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut history = History::default();
        for second in 0..10_000 {
            history.add(Duration::from_secs(second), &gain(1, 1));
        }
        assert_eq!(history.columns.len(), KEPT);
    }

    #[test]
    fn levels() {
        assert_eq!(level(0.0), 0);
        assert_eq!(level(0.1), 1);
        assert_eq!(level(1.0), 1);
        assert_eq!(level(4.0), 2);
        assert_eq!(level(4.1), 3);
        assert_eq!(level(1e9), 8);
    }
}
