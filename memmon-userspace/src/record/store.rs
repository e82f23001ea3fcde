//! The database file, for writing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::schema::{Event, Sample, TIERS, Tick, VERSION, ddl};

/// Between two looks at what is too old, seconds.
const PRUNE_EVERY: i64 = 3600;
/// A wall clock that moves by more than this between two ticks was set. Nothing is dropped by it for an hour.
const JUMP: i64 = 6 * 3600;
/// Each shortening keeps so much of what was kept: 3/4.
const SHORTEN: (i64, i64) = (3, 4);
/// Share of the size that may be used before what is oldest goes: 9/10. The rest is room for the next hours.
const FULL: (i64, i64) = (9, 10);

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// For how long, seconds.
    pub seconds: i64,
    /// The file does not grow beyond, bytes.
    pub bytes: u64,
}

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct StoreError {
    /// What was tried.
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: StoreProblem,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreProblem {
    /// SQLite or the disk.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// Damaged, or no database at all.
    #[error("it is damaged or no SQLite database ({0}); the agent puts such a file aside at its next start")]
    Damaged(rusqlite::Error),
    /// A database, but not memmon's.
    #[error("it is a database of another program")]
    Foreign,
    /// Of another version.
    #[error(
        "its layout has number {found} and this memmon knows {VERSION}: read it with the memmon that wrote it"
    )]
    Layout {
        /// Its number.
        found: i64,
    },
}

/// The database, open for writing.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    keep: Keep,
    units: HashMap<String, i64>,
    last_tick: Option<i64>,
    next_prune: i64,
}

impl Store {
    /// Opens or makes the database. One of another layout, or a damaged one, is renamed and a new one begun.
    ///
    /// # Errors
    /// If that cannot be done: a full or read-only disk, missing rights.
    pub fn open(path: &Path, keep: Keep) -> Result<Self, StoreError> {
        let error = |operation| {
            move |source: rusqlite::Error| StoreError {
                operation,
                path: path.to_owned(),
                source: source.into(),
            }
        };
        let connection = match connect(path, keep) {
            Ok(connection) => connection,
            Err(Unusable::Layout) => {
                put_aside(path);
                connect(path, keep)
                    .map_err(|unusable| unusable.into_sqlite())
                    .map_err(error("open"))?
            }
            Err(Unusable::Sqlite(source)) => return Err(error("open")(source)),
        };
        let last_tick = connection
            .query_row("SELECT max(at) FROM sample_0 WHERE unit = 1", [], |row| {
                row.get(0)
            })
            .map_err(error("read"))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            keep,
            units: HashMap::new(),
            last_tick,
            next_prune: 0,
        })
    }

    /// Stores what was measured, together with what becomes coarser or too old by it, in one transaction.
    ///
    /// # Errors
    /// If the disk is full or gone; nothing of the tick is stored then.
    pub fn tick(&mut self, tick: &Tick) -> Result<(), StoreError> {
        self.try_tick(tick).map_err(|source| self.error("write", source))
    }

    /// Stores something that happened.
    ///
    /// # Errors
    /// If the disk is full or gone.
    pub fn event(&mut self, event: &Event) -> Result<(), StoreError> {
        let data = event.data.as_ref().map(ToString::to_string);
        let row = params![event.at, event.kind.as_str(), event.unit, event.text, data];
        self.connection
            .prepare_cached("INSERT INTO event (at, kind, unit, text, data) VALUES (?1, ?2, ?3, ?4, ?5)")
            .and_then(|mut insert| insert.execute(row))
            .map(drop)
            .map_err(|source| self.error("write", source))
    }

    fn error(&self, operation: &'static str, source: rusqlite::Error) -> StoreError {
        StoreError {
            operation,
            path: self.path.clone(),
            source: source.into(),
        }
    }

    fn try_tick(&mut self, tick: &Tick) -> Result<(), rusqlite::Error> {
        let before = self.last_tick;
        let transaction = self.connection.transaction()?;
        for sample in &tick.samples {
            let id = unit_id(&transaction, &mut self.units, &sample.unit)?;
            insert(&transaction, id, tick.at, sample)?;
        }
        if let Some(before) = before {
            for pair in TIERS.windows(2) {
                let [finer, coarser] = pair else { continue };
                let (done, now) = (before.div_euclid(coarser.step), tick.at.div_euclid(coarser.step));
                if done != now {
                    condense(
                        &transaction,
                        finer.table,
                        coarser.table,
                        done * coarser.step,
                        coarser.step,
                    )?;
                }
            }
            if (tick.at - before).abs() > JUMP {
                self.next_prune = tick.at + PRUNE_EVERY;
            }
        }
        if tick.at >= self.next_prune || tick.at < self.next_prune - 2 * PRUNE_EVERY {
            if prune(&transaction, tick.at, self.keep)? > 0 {
                self.units.clear();
            }
            self.next_prune = tick.at + PRUNE_EVERY;
        }
        let committed = transaction.commit();
        if committed.is_err() {
            // Units that this transaction made are not there.
            self.units.clear();
        }
        committed?;
        self.last_tick = Some(tick.at);
        Ok(())
    }
}

/// Why a file cannot be used as it is.
enum Unusable {
    /// It is no database, or not one of this layout.
    Layout,
    Sqlite(rusqlite::Error),
}

impl Unusable {
    fn into_sqlite(self) -> rusqlite::Error {
        match self {
            Self::Sqlite(error) => error,
            Self::Layout => rusqlite::Error::InvalidQuery,
        }
    }
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => Self::Layout,
            _ => Self::Sqlite(error),
        }
    }
}

fn connect(path: &Path, keep: Keep) -> Result<Connection, Unusable> {
    let connection = Connection::open(path)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && version != VERSION {
        return Err(Unusable::Layout);
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A power cut may cost the last minutes, never the file (sqlite.org/wal.html).
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let pages = i64::try_from(keep.bytes).unwrap_or(i64::MAX) / page;
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    connection.execute_batch(&ddl())?;
    connection.pragma_update(None, "user_version", VERSION)?;
    // The host is always unit 1.
    connection.execute(
        "INSERT OR IGNORE INTO unit (id, name) VALUES (1, ?1)",
        [super::HOST],
    )?;
    Ok(connection)
}

fn put_aside(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(suffix);
        let mut to = path.as_os_str().to_owned();
        to.push(".unusable");
        to.push(suffix);
        if let Err(error) = std::fs::rename(&from, &to)
            && suffix.is_empty()
        {
            tracing::warn!(
                "the history {} is unusable and cannot be put aside: {error}",
                path.display()
            );
        }
    }
}

fn unit_id(
    connection: &Connection,
    known: &mut HashMap<String, i64>,
    name: &str,
) -> Result<i64, rusqlite::Error> {
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let found = connection
        .prepare_cached("SELECT id FROM unit WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            connection
                .prepare_cached("INSERT INTO unit (name) VALUES (?1)")?
                .execute([name])?;
            connection.last_insert_rowid()
        }
    };
    known.insert(name.to_owned(), id);
    Ok(id)
}

fn insert(connection: &Connection, unit: i64, at: i64, sample: &Sample) -> Result<(), rusqlite::Error> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO sample_0 (unit, at, memory, memory_peak, memory_limit, swap, swap_peak, swapped_out, \
             stalled_us) VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?5, ?6, ?7)",
        )?
        .execute(params![
            unit,
            at,
            number(sample.memory),
            sample.memory_limit.map(number),
            number(sample.swap),
            number(sample.swapped_out),
            number(sample.stalled_us)
        ])?;
    Ok(())
}

/// Puts the rows of one step of a finer table together into one row per unit of the coarser one. Unit by unit:
/// the tables are ordered by unit, so a walk by time would read all of them.
fn condense(
    connection: &Connection,
    finer: &str,
    coarser: &str,
    from: i64,
    step: i64,
) -> Result<(), rusqlite::Error> {
    let mut one = connection.prepare_cached(&format!(
        "INSERT OR REPLACE INTO {coarser} SELECT unit, ?2, CAST(avg(memory) AS INTEGER), max(memory_peak), \
         min(memory_limit), CAST(avg(swap) AS INTEGER), max(swap_peak), sum(swapped_out), sum(stalled_us) FROM {finer} \
         WHERE unit = ?1 AND at >= ?2 AND at < ?3 GROUP BY unit"
    ))?;
    for unit in ids(connection)? {
        one.execute(params![unit, from, from + step])?;
    }
    Ok(())
}

fn ids(connection: &Connection) -> Result<Vec<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT id FROM unit")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Drops what is too old, and more of it if the file is nearly full; returns how many units are gone altogether.
fn prune(connection: &Connection, now: i64, keep: Keep) -> Result<usize, rusqlite::Error> {
    let mut share = (1, 1);
    loop {
        for tier in TIERS {
            let mut delete = connection
                .prepare_cached(&format!("DELETE FROM {} WHERE unit = ?1 AND at < ?2", tier.table))?;
            let seconds = tier.keep.min(keep.seconds).saturating_mul(share.0) / share.1;
            for unit in ids(connection)? {
                delete.execute(params![unit, now - seconds])?;
            }
        }
        let seconds = keep.seconds.saturating_mul(share.0) / share.1;
        connection.execute("DELETE FROM event WHERE at < ?1", [now - seconds])?;
        let pragma =
            |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let used = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
        let allowed = i64::try_from(keep.bytes).unwrap_or(i64::MAX) / FULL.1 * FULL.0;
        if used <= allowed || share.0 * 16 < share.1 {
            break;
        }
        share = (share.0 * SHORTEN.0, share.1 * SHORTEN.1);
    }
    // A unit is gone when even its coarsest rows are.
    connection.execute(
        "DELETE FROM unit WHERE id > 1 AND NOT EXISTS (SELECT 1 FROM sample_0 WHERE unit = id) AND NOT EXISTS \
         (SELECT 1 FROM sample_1 WHERE unit = id) AND NOT EXISTS (SELECT 1 FROM sample_2 WHERE unit = id) AND NOT EXISTS \
         (SELECT 1 FROM sample_3 WHERE unit = id)",
        [],
    )
}
