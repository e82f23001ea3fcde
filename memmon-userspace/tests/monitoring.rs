//! The alert rules, the dashboard and the runbooks agree with each other and with the metrics.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

#[path = "../src/testing/tools.rs"]
mod tools;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    let path = root().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything in `text` that looks like the name of a metric, without what histograms and counters add to it.
fn metrics(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("memmon_"))
        .map(|word| {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

/// The names in the table of docs/metrics.md, which is what a page with everything has on it.
fn documented() -> BTreeSet<String> {
    let table = read("docs/metrics.md");
    let rows = table.lines().filter(|line| line.starts_with("| `memmon_"));
    rows.flat_map(|row| metrics(row.split('|').nth(1).unwrap()))
        .collect()
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let Some(promtool) = tools::tool("promtool") else {
        return;
    };
    let dir = root().join("packaging/prometheus");
    for arguments in [
        ["check", "rules", "memmon.rules.yml"],
        ["test", "rules", "memmon.rules.test.yml"],
    ] {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(&dir)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn every_alert_has_a_test_and_a_runbook() {
    let rules = read("packaging/prometheus/memmon.rules.yml");
    let (tests, runbooks) = (
        read("packaging/prometheus/memmon.rules.test.yml"),
        read("docs/runbooks.md"),
    );
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    for alert in &alerts {
        assert!(
            tests.contains(&format!("alertname: {alert}\n        exp_alerts")),
            "{alert}"
        );
        assert!(runbooks.contains(&format!("\n## {alert}\n")), "{alert}");
        let anchor = format!("runbooks.md#{}\n", alert.to_lowercase());
        assert_eq!(rules.matches(&anchor).count(), 1, "{alert}");
    }
}

#[test]
fn only_metrics_that_exist_are_used() {
    let documented = documented();
    assert_eq!(documented.len(), 16, "{documented:?}");
    let page =
        read("memmon-userspace/src/export/metrics/snapshots/memmon__export__metrics__tests__text.snap");
    let on_page: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, on_page);
    for file in [
        "packaging/prometheus/memmon.rules.yml",
        "packaging/grafana/memmon.json",
    ] {
        let used = metrics(&read(file));
        assert!(
            !used.is_empty() && used.is_subset(&documented),
            "{file}: {used:?}"
        );
    }
}

#[test]
fn the_dashboard_is_complete() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("packaging/grafana/memmon.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            // Every figure can be narrowed down to a host.
            assert!(
                target["expr"]
                    .as_str()
                    .unwrap()
                    .contains(r#"instance=~"$instance""#),
                "{title}"
            );
        }
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
    }
    assert!(dashboard["uid"].is_string() && dashboard["id"].is_null());
}

#[test]
fn prometheus_understands_every_query_of_the_dashboard() {
    let Some(promtool) = tools::tool("promtool") else {
        return;
    };
    let dashboard: serde_json::Value = serde_json::from_str(&read("packaging/grafana/memmon.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter();
    let queries: Vec<String> = targets
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(queries.len() > 15);
    // Each as a recording rule, with Grafana's own variables replaced.
    let rules: Vec<_> = (0..)
        .zip(&queries)
        .map(|(n, query)| {
            let query = query.replace("$__rate_interval", "5m").replace("$__range", "1h");
            serde_json::json!({ "record": format!("q:{n}"), "expr": query })
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    let document = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&file, document.to_string()).unwrap();
    let output = Command::new(promtool)
        .args(["check", "rules"])
        .arg(&file)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
