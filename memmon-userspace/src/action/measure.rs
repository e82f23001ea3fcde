//! Reads what a decision about a unit needs: the unit's cgroup, its ancestors, and what is below it.

use std::collections::BTreeMap;

use super::systemd_props::{MEMORY_SETTINGS, MEMORY_SWITCHES};
use crate::decode::cgroup_file::{self, CgroupFileError};
use crate::decode::{Level, Limit, MissingField, Pressure};
use crate::source::cgroupfs::{CgroupDir, CgroupReadError, CgroupRoot, Number, RawLevel, Text};

/// Cgroups below a unit that are looked at for limits of their own.
const BELOW: usize = 256;

/// A unit's cgroups as they are now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The unit's cgroup and its ancestors below the root, innermost first.
    pub chain: Vec<Level>,
    /// Cgroups below with a finite limit of their own.
    pub below: Vec<Level>,
    /// All cgroups below were looked at.
    pub below_complete: bool,
    /// The unit's `memory.pressure`, if asked for and accounted.
    pub pressure: Option<Pressure>,
}

/// A unit's cgroup could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A file could not be read, or the cgroup is gone.
    #[error(transparent)]
    Read(#[from] CgroupReadError),
    /// `memory.pressure` holds something unexpected.
    #[error("cgroup {path}: {source}")]
    Pressure {
        /// Path of the cgroup.
        path: String,
        /// What is missing.
        source: MissingField,
    },
    /// A file holds something unexpected.
    #[error("cgroup {path}: {source}")]
    Content {
        /// Path of the cgroup.
        path: String,
        /// What is wrong.
        source: CgroupFileError,
    },
}

/// Measures the cgroup at `path`, without its pressure, which only a review needs.
///
/// # Errors
/// If part of the chain cannot be read: a limit that is not seen could be the one that binds.
pub fn measure(root: &CgroupRoot, path: &str) -> Result<Measured, MeasureError> {
    let chain = root
        .chain(path)?
        .into_iter()
        .map(level)
        .collect::<Result<_, _>>()?;
    let (below, below_complete) = root.below(path, BELOW)?;
    let mut limited = Vec::new();
    for raw in below {
        let level = level(raw)?;
        if level.max != Limit::Max || level.high != Limit::Max {
            limited.push(level);
        }
    }
    Ok(Measured {
        chain,
        below: limited,
        below_complete,
        pressure: None,
    })
}

/// The `memory.pressure` of the cgroup at `path`; `None` where it is not accounted.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn pressure(root: &CgroupRoot, path: &str) -> Result<Option<Pressure>, MeasureError> {
    let Some(text) = root.cgroup(path)?.optional::<512>("memory.pressure")? else {
        return Ok(None);
    };
    let pressure = Pressure::parse(text.as_str());
    pressure.map(Some).map_err(|source| MeasureError::Pressure {
        path: path.to_owned(),
        source,
    })
}

/// The memory files that systemd writes for a cgroup, and `memory.current`; a file that the kernel lacks is
/// absent.
pub(super) fn settings(dir: &CgroupDir) -> Result<BTreeMap<&'static str, Limit>, MeasureError> {
    let mut files = BTreeMap::new();
    let more = [("", "memory.current")];
    for (_, file) in MEMORY_SETTINGS.into_iter().chain(MEMORY_SWITCHES).chain(more) {
        let Some(text): Option<Number> = dir.optional(file)? else {
            continue;
        };
        let limit = cgroup_file::limit(Text::as_str(&text));
        let error = |source| MeasureError::Content {
            path: dir.path().to_owned(),
            source,
        };
        files.insert(file, limit.map_err(error)?);
    }
    Ok(files)
}

fn level(raw: RawLevel) -> Result<Level, MeasureError> {
    let path = raw.path.clone();
    cgroup_file::level(raw).map_err(|source| MeasureError::Content { path, source })
}
