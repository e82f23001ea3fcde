//! The agent must not become a victim of what it watches.

use std::fs;

use rustix::mm::{MlockAllFlags, mlockall};

const OOM_SCORE_ADJ: i32 = -900;

/// Locks the agent's memory and asks the OOM killer to look elsewhere. What is not permitted is told and left.
pub(super) fn protect() {
    // First everything that is mapped now, so that no code of the reaction path has to be read from disk when
    // it is needed; then what comes later, page by page as it is touched.
    let locked = mlockall(MlockAllFlags::CURRENT)
        .and_then(|()| mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT));
    if let Err(error) = locked {
        tracing::warn!(
            "the agent's memory is not locked: {error}; run it with CAP_IPC_LOCK or a sufficient LimitMEMLOCK="
        );
    }
    let path = "/proc/self/oom_score_adj";
    let current = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if current.is_none_or(|current| current > OOM_SCORE_ADJ)
        && let Err(error) = fs::write(path, OOM_SCORE_ADJ.to_string())
    {
        tracing::warn!(
            "{path} is not {OOM_SCORE_ADJ}: {error}; set OOMScoreAdjust= in the unit or give CAP_SYS_RESOURCE"
        );
    }
}
