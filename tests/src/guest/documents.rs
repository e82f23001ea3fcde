//! The JSON documents that memmon prints, against the schemas that it ships.

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

#[path = "../../../memmon-userspace/src/testing/schema.rs"]
#[expect(dead_code, reason = "shared with memmon's own tests, which use more of it")]
mod schema;

/// Reads a document, which must be of this kind (`memmon.report/1`) and as its schema says.
///
/// # Errors
/// If it is not; one line per violation.
pub fn document(kind: &str, text: &str) -> Result<Value> {
    let document: Value = serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
    ensure!(document["schema"] == kind, "not a {kind}: {document}");
    conforms(&document)?;
    Ok(document)
}

/// Checks a document against the schema that it names.
///
/// # Errors
/// If it does not conform; one line per violation.
pub fn conforms(document: &Value) -> Result<()> {
    schema::check(document).map_err(|violations| anyhow!("{violations}\nin {document}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::document;

    const EXAMPLE: &str = include_str!("../../../packaging/schemas/examples/memmon.swap_out.1.json");

    #[test]
    fn a_document_is_held_against_its_schema() {
        document("memmon.swap_out/1", EXAMPLE).unwrap();
        let bad = EXAMPLE.replace("\"kswapd\"", "\"nobody\"");
        assert!(
            document("memmon.swap_out/1", &bad)
                .unwrap_err()
                .to_string()
                .contains("/reclaimer/kind")
        );
        assert!(document("memmon.report/1", EXAMPLE).is_err());
        assert!(document("memmon.report/1", "no JSON").is_err());
    }
}
