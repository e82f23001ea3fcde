//! Programs that some tests check memmon against.

use std::{env, path::PathBuf};

/// Set by `cargo xtask test`, which installs the programs: then a missing one is a failure, not a skip.
const REQUIRED: &str = "MEMMON_TEST_TOOLS";

/// Where a program is; `None` after saying that the test is skipped. `MEMMON_TEST_TOOLS` is searched before `PATH`.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let dirs = [REQUIRED, "PATH"].map(|variable| env::var_os(variable).unwrap_or_default());
    let found = dirs
        .iter()
        .flat_map(env::split_paths)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Says that a test is skipped, or, where everything should be there, fails it.
pub(crate) fn skip(why: &str) {
    assert!(env::var_os(REQUIRED).is_none(), "{why}");
    println!("skipped: {why}");
}
