//! The alarms that are on, on record: an agent that is killed cannot tell that they are over, its next start can.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::sync::watch;

use super::{Alert, Board};

/// Why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what this version writes.
    #[error("{}: {source}; the alarms in it are not told to be over", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The alarms that an earlier agent has left on; none if it ended as it should, or there was none.
///
/// # Errors
/// If there is a record that cannot be used.
pub fn left_on(path: &Path) -> Result<Vec<Alert>, KeptError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| KeptError::Io {
            path: path.to_owned(),
            source,
        })?,
    };
    serde_json::from_slice(&bytes).map_err(|source| KeptError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Keeps the record of `board` at `path` until the board's owner is gone.
pub async fn keep(path: PathBuf, mut board: watch::Receiver<Board>) {
    let mut written: Vec<String> = vec![String::new()];
    loop {
        let on: Vec<_> = board.borrow_and_update().on().cloned().collect();
        let ids: Vec<String> = on.iter().map(|alert| alert.id.clone()).collect();
        if ids != written {
            let alerts: Vec<&Alert> = on.iter().map(AsRef::as_ref).collect();
            if let Err(error) = write(&path, &alerts) {
                tracing::warn!("after a crash nobody will be told that alarms are over: {error}");
            }
            written = ids;
        }
        if board.changed().await.is_err() {
            return;
        }
    }
}

fn write(path: &Path, alerts: &[&Alert]) -> Result<(), KeptError> {
    let told = |source| KeptError::Io {
        path: path.to_owned(),
        source,
    };
    if alerts.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(told(error)),
            _ => Ok(()),
        };
    }
    let bytes = serde_json::to_vec(alerts).map_err(|source| KeptError::Content {
        path: path.to_owned(),
        source,
    })?;
    // In one step: whoever reads sees the old record or the new one.
    let new = path.with_added_extension("new");
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .map_err(told)
}
