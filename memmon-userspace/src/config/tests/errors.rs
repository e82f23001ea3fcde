//! Every error names the place, the key, the value and the remedy.

use proptest::prelude::*;

use crate::config::{BUILT_IN, Config};

/// The errors for a file `f.toml`, one per line.
fn errors(text: &str) -> String {
    Config::from_text("f.toml", text)
        .expect_err("the configuration must be rejected")
        .to_string()
}

/// Requires one error at `place` that contains all of `parts`.
fn one_error(text: &str, place: &str, parts: &[&str]) {
    let all = errors(text);
    assert_eq!(all.lines().count(), 1, "{all}");
    assert!(
        all.starts_with(&format!("f.toml:{place}: ")),
        "{place} expected: {all}"
    );
    for part in parts {
        assert!(all.contains(part), "{part:?} expected: {all}");
    }
}

#[test]
fn an_empty_file_changes_nothing() {
    let config = Config::from_text("f.toml", "# nothing\n").unwrap();
    assert!(config.changes_since(&Config::default()).is_empty());
}

#[test]
fn unknown_key_names_where_it_belongs() {
    one_error(
        "ram_high = 0.7",
        "1:1",
        &["ram_high: unknown key", "move ram_high to [thresholds]"],
    );
    one_error(
        "[log]\nlisten = ''",
        "2:1",
        &["[log] listen: unknown key", "above the first [table]"],
    );
    one_error(
        "[reaction]\nholdd = '1m'",
        "2:1",
        &["[reaction] holdd: unknown key", "write_path, hold"],
    );
    one_error(
        "[limits]\na = 1",
        "1:2",
        &["limits: unknown key", "[units], [thresholds]"],
    );
}

#[test]
fn wrong_type_names_the_type() {
    one_error(
        "listen = 9757",
        "1:10",
        &["listen: value 9757 is an integer", "127.0.0.1:9757"],
    );
    one_error(
        "[thresholds]\nram_high = 80",
        "2:12",
        &["[thresholds] ram_high: value 80 is an integer", "0.5"],
    );
    one_error(
        "[thresholds]\n  ram_high = \"80%\"",
        "2:14",
        &["value \"80%\" is a string"],
    );
    one_error(
        "[reaction]\nhold = 600",
        "2:8",
        &["[reaction] hold: value 600 is an integer", "\"10m\""],
    );
    one_error("units = [1]", "1:9", &["[units]: value [1] is not a table"]);
    one_error(
        "[units]\n'a.service' = true",
        "2:15",
        &["[units] a.service: value true is a boolean", "\"critical\""],
    );
}

#[test]
fn impossible_value_names_the_remedy() {
    for fraction in ["0.0", "-0.1", "1.01", "nan", "inf"] {
        let text = format!("[thresholds]\nswap_high = {fraction}");
        one_error(
            &text,
            "2:13",
            &[&format!("value {fraction} is out of range"), "at most 1.0"],
        );
    }
    for (hold, problem) in [
        ("0s", "no time at all"),
        ("soon", "not a duration"),
        ("400d", "a year"),
    ] {
        one_error(&format!("[reaction]\nhold = '{hold}'"), "2:8", &[problem]);
    }
    one_error(
        "[reaction]\nwrite_path = 'cgroup'",
        "2:14",
        &["'cgroup'", "\"systemd-only\""],
    );
    one_error(
        "[reaction]\non_critical_swap = 'kill'",
        "2:20",
        &["'kill'", "\"alarm-only\""],
    );
    one_error(
        "[log]\nlevel = 'loud'",
        "2:9",
        &["[log] level: value 'loud'", "\"debug\""],
    );
    one_error(
        "[units]\n'a.service' = 'urgent'",
        "2:15",
        &["[units] a.service: value 'urgent'", "\"critical\""],
    );
}

#[test]
fn bad_listen() {
    for (listen, problem) in [
        ("localhost:9757", "host names are not looked up"),
        ("127.0.0.1", "is not an address"),
        ("127.0.0.1:0", "port 0"),
        ("127.0.0.1:99999", "is not an address"),
        ("unix:run/x.sock", "absolute path"),
        (&format!("unix:/{}", "x".repeat(107)), "at most 107 bytes"),
    ] {
        one_error(
            &format!("listen = '{listen}'"),
            "1:10",
            &["listen: value", problem],
        );
    }
    for good in ["", "[::1]:9757", "0.0.0.0:80", "unix:/run/memmon/http.sock"] {
        let config = Config::from_text("f.toml", &format!("listen = '{good}'")).unwrap();
        assert_eq!(config.listen.to_string(), good);
    }
}

#[test]
fn bad_unit_names_and_globs() {
    for (name, problem) in [
        ("a[.service", "without its"),
        ("a[z-b].service", "holds nothing"),
        ("", "is empty"),
        ("omnimind", "did you mean \\\"omnimind.service\\\"?"),
        ("backup.timer", "ends in .timer"),
        ("my unit.service", "which no unit name contains"),
        ("/system.slice/a.service", "which no unit name contains"),
        ("worker@.service", "worker@*.service"),
        ("*.servic", "ends in .servic;"),
        ("*foo", "matches no unit"),
        (".service", "nothing before the dot"),
    ] {
        one_error(
            &format!("[units]\n'{name}' = 'low'"),
            "2:1",
            &["[units]: value ", &problem.replace("\\\"", "\"")],
        );
    }
    one_error(
        &format!("[units]\n'{}.service' = 'low'", "x".repeat(250)),
        "2:1",
        &["258 characters long"],
    );
}

#[test]
fn good_unit_names_and_globs() {
    for name in [
        "*",
        "a*",
        "*vice",
        "*.s[el]*",
        "w@*.service",
        "w@1.service",
        r"dev-disk\x2duuid.swap",
        "-.slice",
        "?.scope",
    ] {
        Config::from_text("f.toml", &format!("[units]\n'{name}' = 'low'")).expect(name);
    }
}

#[test]
fn high_must_be_below_critical_within_one_file() {
    one_error(
        "[thresholds]\nram_critical = 0.70\nram_high = 0.7",
        "3:12",
        &["[thresholds] ram_high: value 0.7 is not below ram_critical = 0.70 (f.toml:2:16)"],
    );
}

#[test]
fn a_conflict_with_a_lower_layer_names_both_places() {
    one_error(
        "[thresholds]\nram_critical = 0.75",
        "2:16",
        &["[thresholds] ram_critical: value 0.75 is not above ram_high = 0.80 ((built-in)/memmon.toml:"],
    );
}

#[test]
fn hysteresis_must_let_a_situation_end() {
    let all = errors("[thresholds]\nhysteresis = 0.6");
    assert!(
        all.starts_with("f.toml:2:14: [thresholds] hysteresis: value 0.6 is not below swap_high = 0.50"),
        "{all}"
    );
    one_error(
        "[thresholds]\nswap_high = 0.04",
        "2:13",
        &["value 0.04 is not above hysteresis = 0.05"],
    );
}

#[test]
fn all_errors_of_a_file_in_its_order() {
    let all = errors("zzz = 1\nlisten = 1\n[units]\n'b' = 'low'\n'a' = 'x'\n[log]\nlevel = 'x'\n");
    let places: Vec<_> = all.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "f.toml:1:1",
            "f.toml:2:10",
            "f.toml:4:1",
            "f.toml:5:1",
            "f.toml:5:7",
            "f.toml:7:9"
        ]
    );
}

#[test]
fn a_rejected_threshold_is_not_compared() {
    one_error(
        "[thresholds]\nram_critical = 2.0\nram_high = 0.95",
        "2:16",
        &["out of range"],
    );
}

#[test]
fn syntax_errors_and_duplicates() {
    one_error("[units\n'a.service' = 'low'", "1:7", &["not valid TOML"]);
    one_error("[log]\nlevel = 'info'\nlevel = 'warn'", "3:1", &["duplicate key"]);
    one_error("listen = ", "1:10", &["not valid TOML"]);
}

#[test]
fn columns_count_characters() {
    one_error(
        "[reaction]\nhold = 'ä' # ü",
        "2:8",
        &["value 'ä' is not a duration"],
    );
    let all = errors("units = { 'ä.service' = 'low', '*' = 'x' }");
    let places: Vec<_> = all.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["f.toml:1:11", "f.toml:1:38"]);
}

proptest! {
    /// Whatever becomes of the shipped file, it is read or rejected with a place inside it.
    #[test]
    fn a_damaged_file_is_read_or_rejected_with_a_place(
        cut in 0..BUILT_IN.len(),
        length in 0usize..40,
        insert in prop_oneof![Just(String::new()), "[\\[\\]\"'=.\\n0-9a-z*ä]{1,6}", any::<String>()],
    ) {
        let end = (cut + length).min(BUILT_IN.len());
        let (Some(before), Some(after)) = (BUILT_IN.get(..cut), BUILT_IN.get(end..)) else {
            return Err(TestCaseError::reject("inside a character"));
        };
        let text = format!("{before}{insert}{after}");
        if let Err(errors) = Config::from_text("f.toml", &text) {
            prop_assert!(!errors.0.is_empty());
            for error in &errors.0 {
                let at = error.location().expect("the text needs no reading");
                // A value of the built-in layer may be the later one of two that conflict.
                let lines: Vec<_> = if &*at.file == "f.toml" { &text } else { BUILT_IN }.split('\n').collect();
                prop_assert!((1..=lines.len()).contains(&at.line), "{error}");
                prop_assert!((1..=lines[at.line - 1].chars().count() + 1).contains(&at.column), "{error}");
            }
        }
    }
}

#[test]
fn the_forecast_table_is_read_and_checked() {
    let config = Config::from_text("f", "[forecast]\nalarms = false\nalarm_within = '1h'\n").unwrap();
    assert_eq!(
        (config.forecast.alarms, config.forecast.alarm_within.as_secs()),
        (false, 3600)
    );
    let shipped = Config::default().forecast;
    assert_eq!((shipped.alarms, shipped.alarm_within.as_secs()), (true, 1200));
    let errors = Config::from_text(
        "f",
        "[forecast]\nalarms = 'yes'\nalarm_within = '0s'\nwindow = '1h'\n",
    )
    .unwrap_err();
    let text = errors.to_string();
    for part in [
        "f:2:10: [forecast] alarms",
        "f:3:16: [forecast] alarm_within",
        "f:4:1: ",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
