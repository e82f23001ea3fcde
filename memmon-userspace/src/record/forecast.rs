//! Forecasts from what is stored: the same ones for the agent and for `memmon forecast`.

use rusqlite::params;

use super::{
    StoreError,
    query::{History, SeriesPoint},
    schema::HOST,
};
use crate::policy::forecast::{Forecast, Point, forecast, interval};

/// How far the agent looks back, seconds.
pub const WINDOW: i64 = 2 * 3600;
/// Rows of one series that are looked at, at most.
const ROWS: i64 = 2000;
/// A unit without a row for so long before the host's last one does not run any more, seconds. Longer than a step of
/// the coarsest rows that a short window uses, so that those count.
const GONE: i64 = 900;

/// Something that can be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// The host's RAM.
    Ram,
    /// The host's swap.
    Swap,
    /// What the least `MemoryMax` of a unit and its slices lets it use.
    MemoryMax,
}

impl Resource {
    /// The name in JSON, metrics and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ram => "ram",
            Self::Swap => "swap",
            Self::MemoryMax => "memory_max",
        }
    }
}

/// When one resource will be used up.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceForecast {
    /// Which resource.
    pub resource: Resource,
    /// Whose; `None`: the host's.
    pub unit: Option<String>,
    /// What is in use of it, bytes.
    pub used: u64,
    /// How much there is of it, bytes.
    pub limit: u64,
    /// When it will be used up, counted from the last sample.
    pub forecast: Forecast,
}

impl ResourceForecast {
    /// The unit, or [`HOST`].
    pub fn subject(&self) -> &str {
        self.unit.as_deref().unwrap_or(HOST)
    }

    /// What will happen and when, in one sentence; `None` if nothing will.
    pub fn sentence(&self) -> Option<String> {
        let Forecast::Exhausts { earliest, latest, .. } = self.forecast else {
            return None;
        };
        let when = interval(earliest, latest);
        Some(match (self.resource, &self.unit) {
            (Resource::Ram, _) => format!("RAM is used up in {when}"),
            (Resource::Swap, _) => format!("swap is used up in {when}"),
            (Resource::MemoryMax, unit) => {
                format!(
                    "{} reaches MemoryMax in {when}",
                    unit.as_deref().unwrap_or("a unit")
                )
            }
        })
    }
}

impl History {
    /// The forecasts for RAM, swap and the limits of units, from the rows from `from` to before `to`; of one unit, if
    /// it is given. What has no limit, or was not there any more at the end, is left out: it is not used up by itself.
    /// `swap_total` is the size of swap, bytes, which is not stored.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn forecasts(
        &self,
        from: i64,
        to: i64,
        unit: Option<&str>,
        swap_total: Option<u64>,
    ) -> Result<Vec<ResourceForecast>, StoreError> {
        let host = self.series(HOST, from, to, ROWS)?;
        let Some(last) = host.last() else {
            return Ok(Vec::new());
        };
        let mut forecasts = Vec::new();
        if unit.is_none() {
            forecasts.extend(of_memory(HOST, &host));
            let total = swap_total.filter(|total| *total > 0);
            forecasts.extend(of(Resource::Swap, None, &host, |row| row.swap_bytes, total));
        }
        for name in self.limited(from.max(last.at - GONE), to)? {
            if name == HOST || unit.is_some_and(|wanted| wanted != name) {
                continue;
            }
            forecasts.extend(self.memory_forecast(&name, from, to)?);
        }
        Ok(forecasts)
    }

    /// The forecast for the memory of one unit, or of the [`HOST`]; `None` if it has no limit, or nothing is stored.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn memory_forecast(
        &self,
        subject: &str,
        from: i64,
        to: i64,
    ) -> Result<Option<ResourceForecast>, StoreError> {
        Ok(of_memory(subject, &self.series(subject, from, to, ROWS)?))
    }

    /// Units with a limit in that time, by name.
    fn limited(&self, from: i64, to: i64) -> Result<Vec<String>, StoreError> {
        // Whichever table has the rows: the finest has none of what is older than a day.
        let tables = ["sample_0", "sample_1", "sample_2", "sample_3"].map(|table| {
            format!(
                "EXISTS (SELECT 1 FROM {table} WHERE unit = unit.id AND at >= ?1 AND at < ?2 AND memory_limit IS NOT NULL)"
            )
        });
        let sql = format!(
            "SELECT name FROM unit WHERE {} ORDER BY name",
            tables.join(" OR ")
        );
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(params![from, to], |row| row.get(0))?
                .collect()
        })
    }
}

fn of_memory(subject: &str, series: &[SeriesPoint]) -> Option<ResourceForecast> {
    let (resource, unit) = if subject == HOST {
        (Resource::Ram, None)
    } else {
        (Resource::MemoryMax, Some(subject.to_owned()))
    };
    of(resource, unit, series, |row| row.memory_bytes, last_limit(series))
}

fn last_limit(series: &[SeriesPoint]) -> Option<u64> {
    u64::try_from(series.last()?.memory_limit_bytes?).ok()
}

fn of(
    resource: Resource,
    unit: Option<String>,
    series: &[SeriesPoint],
    value: impl Fn(&SeriesPoint) -> i64,
    limit: Option<u64>,
) -> Option<ResourceForecast> {
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
    Some(ResourceForecast {
        resource,
        unit,
        used: series
            .last()
            .map_or(0, |row| u64::try_from(value(row)).unwrap_or(0)),
        limit,
        forecast,
    })
}
