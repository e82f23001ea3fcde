//! Every manifest opts in to the workspace's lints, and takes versions from the workspace.

use toml::{Table, Value};

use super::Violation;

/// Checks the manifest `file`.
pub(super) fn check(file: &str, text: &str) -> Vec<Violation> {
    let violation = |problem: String| Violation {
        file: file.to_owned(),
        line: 0,
        problem,
    };
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![violation(format!("is not TOML: {error}"))],
    };
    if !manifest.contains_key("package") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if lints.and_then(Value::as_bool) != Some(true) {
        violations.push(violation(
            "does not opt in to the lints: add [lints] workspace = true".to_owned(),
        ));
    }
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (name, dependency) in manifest
            .get(table)
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
        {
            if dependency.get("workspace").and_then(Value::as_bool) != Some(true) {
                violations.push(violation(format!(
                    "[{table}] {name} has a version of its own: put it into [workspace.dependencies]"
                )));
            }
        }
    }
    violations
}
