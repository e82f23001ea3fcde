//! The database, for reading.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::schema::{TIERS, Tier, VERSION};
use super::store::{StoreError, StoreProblem};

/// Rows per unit beyond which an overview takes a coarser table.
const OVERVIEW_ROWS: i64 = 300;

/// The stored history.
#[derive(Debug)]
pub struct History {
    connection: Connection,
    path: PathBuf,
}

/// One row of a unit's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SeriesPoint {
    /// Wall time at which the row begins, seconds since 1970.
    pub at: i64,
    /// Mean of memory in use, bytes.
    pub memory_bytes: i64,
    /// Its peak among the samples, bytes.
    pub memory_peak_bytes: i64,
    /// The least limit that applied, bytes; `None`: none.
    pub memory_limit_bytes: Option<i64>,
    /// Mean of swap in use, bytes.
    pub swap_bytes: i64,
    /// Its peak, bytes.
    pub swap_peak_bytes: i64,
    /// Pages swapped out.
    pub swapped_out_pages: i64,
    /// Time that some task was stalled on memory, microseconds.
    pub stalled_us: i64,
}

/// A unit over a span of time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Overview {
    /// Name.
    pub unit: String,
    /// Mean of memory in use, bytes.
    pub memory_bytes: i64,
    /// Its peak, bytes.
    pub memory_peak_bytes: i64,
    /// Mean of swap in use, bytes.
    pub swap_bytes: i64,
    /// Its peak, bytes.
    pub swap_peak_bytes: i64,
    /// Pages swapped out.
    pub swapped_out_pages: i64,
    /// Time that some task was stalled on memory, microseconds.
    pub stalled_us: i64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct EventRow {
    /// Wall time, seconds since 1970.
    pub at: i64,
    /// What kind of thing.
    pub kind: String,
    /// About which unit.
    pub unit: Option<String>,
    /// In words.
    pub text: String,
    /// All there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl History {
    /// Opens the database for reading.
    ///
    /// # Errors
    /// If there is none, or it may not be read, or is not one that this version has written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).map_err(StoreProblem::from);
        let connection = opened
            .and_then(|connection| {
                check(&connection)?;
                Ok(connection)
            })
            .map_err(|source| StoreError {
                operation: "open",
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    /// The rows of `unit` from `from` to before `to`, at most about `rows`: from the finest table that reaches
    /// back so far and does not have more.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn series(&self, unit: &str, from: i64, to: i64, rows: i64) -> Result<Vec<SeriesPoint>, StoreError> {
        let Some(id) = self.id(unit)? else {
            return Ok(Vec::new());
        };
        let mut tier = self.tier(from, to, rows)?;
        let mut points = self.rows(tier, id, from, to)?;
        // A short life may not have reached a coarse table yet.
        while points.is_empty() && tier > 0 {
            tier -= 1;
            points = self.rows(tier, id, from, to)?;
        }
        Ok(points)
    }

    /// All units that have rows in that time, most memory first; the host is among them.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn overview(&self, from: i64, to: i64) -> Result<Vec<Overview>, StoreError> {
        let tier = self.tier(from, to, OVERVIEW_ROWS)?;
        let sql = format!(
            "SELECT name, CAST(avg(memory) AS INTEGER), max(memory_peak), CAST(avg(swap) AS INTEGER), max(swap_peak), \
             sum(swapped_out), sum(stalled_us) FROM unit CROSS JOIN {} AS sample ON sample.unit = unit.id \
             WHERE at >= ?1 AND at < ?2 GROUP BY unit.id ORDER BY 3 DESC, 1",
            TIERS[tier].table
        );
        let overview = |row: &Row<'_>| {
            Ok(Overview {
                unit: row.get(0)?,
                memory_bytes: row.get(1)?,
                memory_peak_bytes: row.get(2)?,
                swap_bytes: row.get(3)?,
                swap_peak_bytes: row.get(4)?,
                swapped_out_pages: row.get(5)?,
                stalled_us: row.get(6)?,
            })
        };
        self.read(|connection| {
            connection
                .prepare(&sql)?
                .query_map(params![from, to], overview)?
                .collect()
        })
    }

    /// The names of all units that anything is stored about; the host is among them.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn units(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT name FROM unit ORDER BY name")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// What happened in that time, the latest `limit`, oldest first; of `unit` and `kind` only, where given.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn events(
        &self,
        from: i64,
        to: i64,
        unit: Option<&str>,
        kind: Option<&str>,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let event = |row: &Row<'_>| {
            let data: Option<String> = row.get(4)?;
            Ok(EventRow {
                at: row.get(0)?,
                kind: row.get(1)?,
                unit: row.get(2)?,
                text: row.get(3)?,
                data: data.and_then(|text| serde_json::from_str(&text).ok()),
            })
        };
        let mut events: Vec<EventRow> = self.read(|connection| {
            connection
                .prepare(
                    "SELECT at, kind, unit, text, data FROM event WHERE at >= ?1 AND at < ?2 AND (?3 IS NULL OR unit = ?3) \
                     AND (?4 IS NULL OR kind = ?4) ORDER BY at DESC, id DESC LIMIT ?5",
                )?
                .query_map(params![from, to, unit, kind, limit], event)?
                .collect()
        })?;
        events.reverse();
        Ok(events)
    }

    /// The first and the last sample of the host, wall time in seconds; `None` if there is none.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn span(&self) -> Result<Option<(i64, i64)>, StoreError> {
        let mut span: Option<(i64, i64)> = None;
        for tier in TIERS {
            let sql = format!("SELECT min(at), max(at) FROM {} WHERE unit = 1", tier.table);
            let found: (Option<i64>, Option<i64>) =
                self.read(|connection| connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))))?;
            if let (Some(first), Some(last)) = found {
                span = Some(span.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
            }
        }
        Ok(span)
    }

    fn id(&self, unit: &str) -> Result<Option<i64>, StoreError> {
        self.read(|connection| {
            connection
                .query_row("SELECT id FROM unit WHERE name = ?1", [unit], |row| row.get(0))
                .optional()
        })
    }

    /// The finest table that reaches back to `from` and has not more than `rows` rows per unit until `to`.
    fn tier(&self, from: i64, to: i64, rows: i64) -> Result<usize, StoreError> {
        for (index, tier) in TIERS.iter().enumerate() {
            let Tier { table, step, .. } = *tier;
            let sql = format!(
                "SELECT count(*), min(at) FROM (SELECT at FROM {table} WHERE unit = 1 AND at < ?2 AND at >= ?1)"
            );
            let oldest = format!("SELECT min(at) FROM {table} WHERE unit = 1");
            let (count, first): (i64, Option<i64>) = self.read(|connection| {
                connection.query_row(&sql, [from, to], |row| Ok((row.get(0)?, row.get(1)?)))
            })?;
            let begins: Option<i64> =
                self.read(|connection| connection.query_row(&oldest, [], |row| row.get(0)))?;
            let reaches = begins.is_some_and(|begins| begins <= from + step.max(120))
                || self.nothing_older(index, begins)?;
            if first.is_some() && count <= rows && reaches {
                return Ok(index);
            }
        }
        // Nothing reaches back so far: the coarsest that has anything.
        Ok(TIERS.len() - 1)
    }

    /// No coarser table than `index` has rows from before `begins`.
    fn nothing_older(&self, index: usize, begins: Option<i64>) -> Result<bool, StoreError> {
        for tier in &TIERS[index + 1..] {
            let sql = format!("SELECT min(at) FROM {} WHERE unit = 1", tier.table);
            let older: Option<i64> =
                self.read(|connection| connection.query_row(&sql, [], |row| row.get(0)))?;
            if older.is_some_and(|older| begins.is_none_or(|begins| older + tier.step < begins)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rows(&self, tier: usize, id: i64, from: i64, to: i64) -> Result<Vec<SeriesPoint>, StoreError> {
        let sql = format!(
            "SELECT at, memory, memory_peak, memory_limit, swap, swap_peak, swapped_out, stalled_us FROM {} \
             WHERE unit = ?1 AND at >= ?2 AND at < ?3 ORDER BY at",
            TIERS[tier].table
        );
        let point = |row: &Row<'_>| {
            Ok(SeriesPoint {
                at: row.get(0)?,
                memory_bytes: row.get(1)?,
                memory_peak_bytes: row.get(2)?,
                memory_limit_bytes: row.get(3)?,
                swap_bytes: row.get(4)?,
                swap_peak_bytes: row.get(5)?,
                swapped_out_pages: row.get(6)?,
                stalled_us: row.get(7)?,
            })
        };
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(params![id, from, to], point)?
                .collect()
        })
    }

    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        query(&self.connection).map_err(|source| StoreError {
            operation: "read",
            path: self.path.clone(),
            source: problem(source),
        })
    }
}

/// Finds out whether it is memmon's, of this version.
fn check(connection: &Connection) -> Result<(), StoreProblem> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let ours = "SELECT count(*) FROM sqlite_schema WHERE name IN ('unit', 'event', 'sample_0')";
    if number(ours).map_err(problem)? < 3 {
        return Err(StoreProblem::Foreign);
    }
    match number("PRAGMA user_version").map_err(problem)? {
        VERSION => Ok(()),
        found => Err(StoreProblem::Layout { found }),
    }
}

fn problem(error: rusqlite::Error) -> StoreProblem {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreProblem::Damaged(error)
        }
        _ => StoreProblem::Sqlite(error),
    }
}
