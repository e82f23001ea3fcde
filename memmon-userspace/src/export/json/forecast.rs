//! `memmon.forecast/1`: when RAM, swap and units' limits will be exhausted.

use serde::Serialize;

use crate::{
    policy::forecast::{Forecast, Point, forecast},
    record::{HOST, History, SeriesPoint, StoreError},
};

/// Rows that a forecast looks at.
const ROWS: i64 = 2000;

/// All forecasts.
#[derive(Clone, Debug, Serialize)]
pub struct ForecastDocument {
    /// `memmon.forecast/1`.
    pub schema: &'static str,
    /// How far back they looked; nothing is forecast beyond ten times as much.
    pub window_seconds: i64,
    /// What has a limit, the host first.
    pub forecasts: Vec<ForecastField>,
}

/// One resource.
#[derive(Clone, Debug, Serialize)]
pub struct ForecastField {
    /// `ram`, `swap` or `memory_max`.
    pub resource: &'static str,
    /// Whose limit; null for the host.
    pub unit: Option<String>,
    /// In use at the last sample.
    pub used_bytes: u64,
    /// Of so many.
    pub limit_bytes: u64,
    /// `too_little`, `no_trend`, `falling`, `too_far`, `reached` or `exhausts`.
    pub outcome: &'static str,
    /// Seconds from the last sample until it is exhausted, at the earliest; null unless `outcome` is `exhausts`.
    pub earliest_seconds: Option<f64>,
    /// Most likely.
    pub expected_seconds: Option<f64>,
    /// At the latest.
    pub latest_seconds: Option<f64>,
    /// The same as the policy has it.
    #[serde(skip)]
    pub forecast: Forecast,
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Wall time, seconds since 1970.
    pub from: i64,
    /// Likewise, not included.
    pub to: i64,
    /// Only this unit, not the host.
    pub unit: Option<&'a str>,
    /// Swap of the host, bytes; `None` if it has none.
    pub swap_total: Option<u64>,
    /// So many units, those with most memory.
    pub units: usize,
}

impl ForecastDocument {
    /// Forecasts from stored history.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn from_history(history: &History, look: &Look<'_>) -> Result<Self, StoreError> {
        let mut forecasts = Vec::new();
        if look.unit.is_none() {
            let host = history.series(HOST, look.from, look.to, ROWS)?;
            forecasts.extend(ram(&host));
            let used = |row: &SeriesPoint| row.swap_bytes;
            forecasts.extend(field("swap", None, &host, used, look.swap_total));
        }
        let wanted = |unit: &str| unit != HOST && look.unit.is_none_or(|wanted| wanted == unit);
        let units = history.overview(look.from, look.to)?;
        for unit in units.into_iter().filter(|row| wanted(&row.unit)).take(look.units) {
            let series = history.series(&unit.unit, look.from, look.to, ROWS)?;
            forecasts.extend(of_unit(unit.unit, &series));
        }
        Ok(Self {
            schema: "memmon.forecast/1",
            window_seconds: look.to - look.from,
            forecasts,
        })
    }
}

/// The memory of the host or a unit from its rows; `None` without a limit: what is not limited is not exhausted.
pub fn of(unit: &str, series: &[SeriesPoint]) -> Option<ForecastField> {
    if unit == HOST {
        ram(series)
    } else {
        of_unit(unit.to_owned(), series)
    }
}

fn ram(host: &[SeriesPoint]) -> Option<ForecastField> {
    field("ram", None, host, |row| row.memory_bytes, last_limit(host))
}

fn of_unit(unit: String, series: &[SeriesPoint]) -> Option<ForecastField> {
    let limit = last_limit(series);
    field("memory_max", Some(unit), series, |row| row.memory_bytes, limit)
}

fn last_limit(series: &[SeriesPoint]) -> Option<u64> {
    u64::try_from(series.last()?.memory_limit_bytes?).ok()
}

fn field(
    resource: &'static str,
    unit: Option<String>,
    series: &[SeriesPoint],
    value: impl Fn(&SeriesPoint) -> i64,
    limit: Option<u64>,
) -> Option<ForecastField> {
    let limit = limit?;
    #[expect(clippy::cast_precision_loss, reason = "bytes and seconds are below 2^53")]
    let points: Vec<Point> = series
        .iter()
        .map(|row| Point {
            at: row.at as f64,
            value: value(row) as f64,
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "bytes are below 2^53")]
    let forecast = forecast(&points, limit as f64);
    let (outcome, span) = match forecast {
        Forecast::TooLittle => ("too_little", None),
        Forecast::NoTrend => ("no_trend", None),
        Forecast::Falling => ("falling", None),
        Forecast::TooFar => ("too_far", None),
        Forecast::Reached => ("reached", None),
        Forecast::Exhausts {
            earliest,
            expected,
            latest,
        } => ("exhausts", Some([earliest, expected, latest].map(f64::round))),
    };
    Some(ForecastField {
        resource,
        unit,
        used_bytes: series
            .last()
            .map_or(0, |row| u64::try_from(value(row)).unwrap_or(0)),
        limit_bytes: limit,
        outcome,
        earliest_seconds: span.map(|span| span[0]),
        expected_seconds: span.map(|span| span[1]),
        latest_seconds: span.map(|span| span[2]),
        forecast,
    })
}
