//! Forecasts, as `memmon.forecast/1` and the report have them.

use serde::Serialize;

use crate::{
    policy::forecast::{Forecast, whole},
    record::ResourceForecast,
};

/// `memmon.forecast/1`.
#[derive(Clone, Debug, Serialize)]
pub struct ForecastDocument {
    /// `memmon.forecast/1`.
    pub schema: &'static str,
    /// How far was looked back.
    pub window_seconds: u64,
    /// One per resource that has a limit.
    pub forecasts: Vec<ForecastField>,
}

/// When one resource will be used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForecastField {
    /// `ram`, `swap` or `memory_max`.
    pub resource: &'static str,
    /// Whose; null: the host's.
    pub unit: Option<String>,
    /// What is in use of it.
    pub used_bytes: u64,
    /// How much there is of it.
    pub limit_bytes: u64,
    /// `exhausts`, `reached`, or why there is no telling.
    pub outcome: &'static str,
    /// At the earliest, from the last sample; null unless it `exhausts`.
    pub earliest_seconds: Option<u64>,
    /// Most likely; likewise.
    pub expected_seconds: Option<u64>,
    /// At the latest; likewise.
    pub latest_seconds: Option<u64>,
}

impl From<&ResourceForecast> for ForecastField {
    fn from(made: &ResourceForecast) -> Self {
        let (outcome, span) = match made.forecast {
            Forecast::TooLittle => ("too_little", None),
            Forecast::NoTrend => ("no_trend", None),
            Forecast::Falling => ("falling", None),
            Forecast::TooFar => ("too_far", None),
            Forecast::Reached => ("reached", None),
            Forecast::Exhausts {
                earliest,
                expected,
                latest,
            } => ("exhausts", Some([earliest, expected, latest].map(whole))),
        };
        Self {
            resource: made.resource.as_str(),
            unit: made.unit.clone(),
            used_bytes: made.used,
            limit_bytes: made.limit,
            outcome,
            earliest_seconds: span.map(|span| span[0]),
            expected_seconds: span.map(|span| span[1]),
            latest_seconds: span.map(|span| span[2]),
        }
    }
}
