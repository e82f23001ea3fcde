//! The schemas accept what the contract shows and nothing that is nearly it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};

use super::schema::{SCHEMAS, assert_valid, check};
use crate::config::Config;

/// The shipped example of a document.
fn example(kind: &str) -> Value {
    let file = format!(
        "{}/../packaging/schemas/examples/{}.json",
        env!("CARGO_MANIFEST_DIR"),
        kind.replace('/', ".")
    );
    serde_json::from_str(&std::fs::read_to_string(&file).expect(&file)).unwrap()
}

/// The places of all objects in `value`, as JSON pointers.
fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            found.push(at.to_owned());
            let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
            entries
                .iter()
                .for_each(|(key, value)| objects(value, &format!("{at}/{}", escape(key)), found));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| objects(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

#[test]
fn every_schema_is_valid_and_names_its_document() {
    for (kind, text) in SCHEMAS {
        let schema: Value = serde_json::from_str(text).unwrap();
        jsonschema::draft202012::meta::validate(&schema).expect(kind);
        assert_eq!(schema["properties"]["schema"]["const"], *kind);
        assert_eq!(schema["$id"], format!("urn:memmon:schema:{kind}"));
    }
}

#[test]
fn every_example_is_valid() {
    for (kind, _) in SCHEMAS {
        assert_valid(kind, &example(kind));
    }
}

/// Takes each key of each object away, and adds a misspelt one to each: both must be noticed.
#[test]
fn every_key_is_required_and_no_other_is_known() {
    let mut tried = 0;
    for (kind, _) in SCHEMAS {
        let good = example(kind);
        let mut places = Vec::new();
        objects(&good, "", &mut places);
        for place in places {
            // The names in `units` are the user's.
            let free = place == "/config/units";
            let keys: Vec<_> = good
                .pointer(&place)
                .unwrap()
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            for key in keys {
                if free || (place.as_str(), key.as_str()) == ("", "page") {
                    continue;
                }
                let mut bad = good.clone();
                bad.pointer_mut(&place)
                    .unwrap()
                    .as_object_mut()
                    .unwrap()
                    .remove(&key);
                assert!(
                    check(&bad).is_err(),
                    "{kind}{place} without {key} must be rejected"
                );
                tried += 1;
            }
            let mut bad = good.clone();
            bad.pointer_mut(&place).unwrap()["misspelt"] = Value::Null;
            assert!(
                check(&bad).is_err(),
                "{kind}{place} with an unknown key must be rejected"
            );
        }
    }
    assert!(tried > 100, "only {tried} keys were tried");
}

/// Requires that the example of `kind` is rejected, or accepted, with `value` at `place`.
fn with(kind: &str, place: &str, value: Value) -> Result<(), String> {
    let mut document = example(kind);
    *document.pointer_mut(place).expect(place) = value;
    check(&document)
}

#[test]
fn wrong_values_are_rejected_with_their_place() {
    for (kind, place, value) in [
        ("memmon.swap_out/1", "/ts", json!("2026-01-02 03:04:05")),
        ("memmon.swap_out/1", "/pages", json!(-1)),
        ("memmon.swap_out/1", "/pages", json!("1")),
        ("memmon.trace_end/1", "/page_level", json!("guessed")),
        ("memmon.check/1", "/page_level/exact", json!("yes")),
        ("memmon.swap_out/1", "/cgroup_id", json!(0)),
        ("memmon.swap_out/1", "/cgroup", json!("system.slice")),
        ("memmon.swap_out/1", "/priority", json!("urgent")),
        ("memmon.swap_out/1", "/reclaimer/kind", json!("ksm")),
        ("memmon.swap_out/1", "/page", json!({})),
        ("memmon.swap_out/1", "/page/address", json!(140_000)),
        ("memmon.trace_end/1", "/pages", json!(null)),
        ("memmon.trace_end/1", "/ledger/zero", json!(-1)),
        ("memmon.report/1", "/system/situation", json!("calm")),
        ("memmon.report/1", "/system/ram_used", json!(83)),
        ("memmon.report/1", "/units/0/limits/swap_max", json!("infinity")),
        ("memmon.report/1", "/units/0/leases/0/new", json!(null)),
        ("memmon.report/1", "/units/0/psi/some/avg10", json!(101)),
        ("memmon.report/1", "/strategies/0/action", json!("kill")),
        ("memmon.report/1", "/attribution", json!("perfect")),
        ("memmon.report/1", "/alarms/0/kind", json!("page")),
        ("memmon.report/1", "/forecast/0/outcome", json!("soon")),
        ("memmon.forecast/1", "/forecasts/1/latest_seconds", json!(-1)),
        ("memmon.history/1", "/events/0/kind", json!("note")),
        ("memmon.check/1", "/hooks", json!([])),
        ("memmon.check/1", "/hooks/1/reason", json!(null)),
        ("memmon.check/1", "/hooks/0/reason", json!("but why")),
        ("memmon.check/1", "/hooks/1/required", json!(true)),
        ("memmon.check/1", "/capabilities/0/name", json!("bpf")),
        ("memmon.check/1", "/page_level/reason", json!(null)),
        ("memmon.check/1", "/self_test/expected_pages", json!(0)),
        ("memmon.config/1", "/config/units/*", json!("urgent")),
        ("memmon.config/1", "/config/thresholds/hysteresis", json!(0)),
        ("memmon.config/1", "/sources/0/line", json!(0)),
    ] {
        let violations =
            with(kind, place, value.clone()).expect_err(&format!("{place} = {value} must be rejected"));
        assert!(violations.starts_with(kind), "{violations}");
    }
    let violations = with("memmon.report/1", "/units/0/limits/swap_max", json!("infinity")).unwrap_err();
    assert!(
        violations.contains("memmon.report/1/units/0/limits/swap_max: "),
        "{violations}"
    );
}

#[test]
fn what_may_be_absent_is_accepted() {
    for (kind, place) in [
        ("memmon.swap_out/1", "/unit"),
        ("memmon.swap_out/1", "/page"),
        ("memmon.swap_out/1", "/reclaimer/pid"),
        ("memmon.trace_end/1", "/ledger/zswpout"),
        ("memmon.report/1", "/blame"),
        ("memmon.report/1", "/forecast"),
        ("memmon.history/1", "/events/0/unit"),
        ("memmon.report/1", "/system/psi"),
        ("memmon.report/1", "/units/0/leases"),
        ("memmon.report/1", "/units/0/psi"),
        ("memmon.report/1", "/units/0/critical_pages_swapped"),
        ("memmon.check/1", "/systemd/version"),
        ("memmon.check/1", "/self_test"),
    ] {
        with(kind, place, Value::Null).expect(place);
    }
}

#[test]
fn a_failed_self_test_is_not_ok() {
    let mut document = example("memmon.check/1");
    document["self_test"]["ok"] = json!(false);
    check(&document).unwrap();
    document["result"] = json!("ok");
    assert!(check(&document).is_err());
}

#[test]
fn an_unknown_document_is_rejected() {
    assert!(
        check(&json!({ "schema": "memmon.swap_out/2" }))
            .unwrap_err()
            .contains("is not shipped")
    );
    assert!(
        check(&json!({ "pages": 1 }))
            .unwrap_err()
            .contains("no \"schema\"")
    );
}

#[test]
fn the_configuration_is_shown_as_its_schema_says() {
    assert_valid("memmon.config/1", &Config::default().to_json());
}
