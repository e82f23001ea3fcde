//! What is shown says the same as what was read.

use crate::config::{BUILT_IN, Config};

const TEXT: &str =
    "listen = ''\n[units]\n'dev-x\\x2dy.swap' = 'low'\n'db*' = 'high'\n[reaction]\nhold = '90s'\n";

#[test]
fn shown_toml_reads_back_as_the_same() {
    let config = Config::from_text("f.toml", TEXT).unwrap();
    let shown = config.to_toml();
    let again = Config::from_text("shown.toml", &shown).unwrap();
    assert_eq!(again.changes_since(&config), [""; 0], "{shown}");
    // Everything is written out: each value now comes from the shown text.
    assert!(
        again.origins.values().all(|at| &*at.file == "shown.toml"),
        "{:?}",
        again.origins
    );
}

#[test]
fn every_value_tells_its_file() {
    let shown = Config::from_text("f.toml", TEXT).unwrap().to_toml();
    for line in [
        "listen = \"\"  # f.toml:1",
        "'dev-x\\x2dy.swap' = \"low\"  # f.toml:3",
        "\"db*\" = \"high\"  # f.toml:4",
        "hold = \"1m 30s\"  # f.toml:6",
        "write_path = \"cgroup-then-systemd\"  # (built-in)/memmon.toml:",
    ] {
        assert!(shown.contains(line), "{line} expected in\n{shown}");
    }
}

#[test]
fn json_has_the_values_and_their_sources() {
    let json = Config::from_text("f.toml", TEXT).unwrap().to_json();
    assert_eq!(json["schema"], "memmon.config/1");
    assert_eq!(json["config"]["units"]["db*"], "high");
    assert_eq!(json["config"]["thresholds"]["ram_high"], 0.8);
    let sources = json["sources"].as_array().unwrap();
    let hold = sources.iter().find(|source| source["key"] == "hold").unwrap();
    assert_eq!(
        (&hold["file"], &hold["line"], &hold["column"]),
        (&"f.toml".into(), &6.into(), &8.into())
    );
}

#[test]
fn changes_are_told() {
    let old = Config::from_text("a", "[units]\n'a.service' = 'low'\n'b.service' = 'low'").unwrap();
    let new = Config::from_text("b", "[log]\nlevel = 'warn'\n[units]\n'a.service' = 'high'").unwrap();
    assert_eq!(
        new.changes_since(&old),
        [
            "[units] a.service: \"low\" → \"high\"",
            "[log] level: \"info\" → \"warn\"",
            "[units] b.service: removed, was \"low\"",
        ]
    );
    assert_eq!(old.changes_since(&old), [""; 0]);
}

#[test]
fn the_shipped_file_sets_every_key() {
    let config = Config::from_text("shipped.toml", BUILT_IN).unwrap();
    assert!(
        config.origins.values().all(|at| &*at.file == "shipped.toml"),
        "{:?}",
        config.origins
    );
    assert_eq!(config.changes_since(&Config::default()), [""; 0]);
}
