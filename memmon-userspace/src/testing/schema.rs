//! Validates JSON documents against the shipped schemas.
//!
//! The live-kernel and VM tests compile this file as well: it uses nothing of the crate.

use serde_json::Value;

/// The shipped schemas, by the `schema` of the documents they describe.
pub(crate) const SCHEMAS: &[(&str, &str)] = &[
    (
        "memmon.swap_out/1",
        include_str!("../../../packaging/schemas/memmon.swap_out.1.json"),
    ),
    (
        "memmon.trace_end/1",
        include_str!("../../../packaging/schemas/memmon.trace_end.1.json"),
    ),
    (
        "memmon.report/1",
        include_str!("../../../packaging/schemas/memmon.report.1.json"),
    ),
    (
        "memmon.status/1",
        include_str!("../../../packaging/schemas/memmon.status.1.json"),
    ),
    (
        "memmon.forecast/1",
        include_str!("../../../packaging/schemas/memmon.forecast.1.json"),
    ),
    (
        "memmon.history/1",
        include_str!("../../../packaging/schemas/memmon.history.1.json"),
    ),
    (
        "memmon.check/1",
        include_str!("../../../packaging/schemas/memmon.check.1.json"),
    ),
    (
        "memmon.config/1",
        include_str!("../../../packaging/schemas/memmon.config.1.json"),
    ),
    (
        "memmon.live/1",
        include_str!("../../../packaging/schemas/memmon.live.1.json"),
    ),
    (
        "memmon.past/1",
        include_str!("../../../packaging/schemas/memmon.past.1.json"),
    ),
    (
        "memmon.alerts/1",
        include_str!("../../../packaging/schemas/memmon.alerts.1.json"),
    ),
    (
        "memmon.simulated/1",
        include_str!("../../../packaging/schemas/memmon.simulated.1.json"),
    ),
    (
        "memmon.error/1",
        include_str!("../../../packaging/schemas/memmon.error.1.json"),
    ),
];

/// Validates `document` against the schema that its `schema` names.
///
/// # Errors
/// If it names none that is shipped, or does not conform: one line per violation, with its place.
pub(crate) fn check(document: &Value) -> Result<(), String> {
    let kind = document["schema"]
        .as_str()
        .ok_or_else(|| format!("no \"schema\" in {document}"))?;
    let (_, text) = SCHEMAS
        .iter()
        .find(|(name, _)| *name == kind)
        .ok_or_else(|| format!("schema {kind:?} is not shipped"))?;
    let schema: Value = serde_json::from_str(text).map_err(|e| format!("schema {kind}: {e}"))?;
    let validator = jsonschema::draft202012::new(&schema).map_err(|e| format!("schema {kind}: {e}"))?;
    let violations: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{kind}{}: {error}", error.instance_path()))
        .collect();
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations.join("\n"))
    }
}

/// Requires that `document` conforms to the schema it names, which must be `kind`.
///
/// # Panics
/// If it does not; the message says where and why.
pub(crate) fn assert_valid(kind: &str, document: &Value) {
    assert_eq!(document["schema"], kind, "in {document}");
    if let Err(violations) = check(document) {
        panic!("{violations}\nin {document:#}");
    }
}
