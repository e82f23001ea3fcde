//! When a forecast is worth an alarm: neither at the first guess, nor for ever.

use super::Forecast;

/// Forecasts in a row that say so before anybody is told.
const RAISE_AFTER: u8 = 2;
/// Forecasts in a row that do not say so any more before it is over.
const CLEAR_AFTER: u8 = 5;
/// An alarm stays on while the forecast is within so many times the time for which it is raised.
const STAYS: f64 = 1.5;

/// What the forecasts of one resource have said lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    on: bool,
    /// Forecasts in a row that speak for a change.
    in_a_row: u8,
}

/// What the last forecast changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Somebody should be told.
    Raise,
    /// It is over.
    Clear,
}

impl Watch {
    /// Takes the next forecast; `None` if there is none for the resource any more. `within` is how near, in seconds,
    /// exhaustion must be.
    ///
    /// A limit that is reached is no forecast: a unit whose file cache fills its limit stays there for good, and what
    /// is really short shows as pressure, swapping or an OOM kill.
    pub fn next(&mut self, forecast: Option<&Forecast>, within: f64) -> Change {
        let within = if self.on { within * STAYS } else { within };
        let near = matches!(forecast, Some(Forecast::Exhausts { expected, .. }) if *expected <= within);
        if near == self.on {
            self.in_a_row = 0;
            return Change::None;
        }
        self.in_a_row += 1;
        if self.in_a_row < if self.on { CLEAR_AFTER } else { RAISE_AFTER } {
            return Change::None;
        }
        *self = Self {
            on: near,
            in_a_row: 0,
        };
        if near { Change::Raise } else { Change::Clear }
    }

    /// Its alarm is on.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// There is nothing to remember.
    pub const fn is_idle(&self) -> bool {
        !self.on && self.in_a_row == 0
    }
}
