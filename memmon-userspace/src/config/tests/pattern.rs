//! Patterns, and which of them decides.

use proptest::prelude::*;

use crate::config::{Config, Pattern, PatternError, Priority};

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).unwrap().matches(name)
}

#[test]
fn wildcards() {
    for (pattern, name, expected) in [
        ("a.service", "a.service", true),
        ("a.service", "a.services", false),
        ("*", "", true),
        ("*", "anything.scope", true),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyycd", false),
        ("*.service", ".service", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a[0-9]c", "a5c", true),
        ("a[0-9]c", "axc", false),
        ("a[!0-9]c", "axc", true),
        ("a[^0-9]c", "a5c", false),
        ("a[]x]c", "a]c", true),
        ("a[-x]c", "a-c", true),
        ("a[x-]c", "a-c", true),
        ("a[a-cx-z]c", "ayc", true),
        ("a[a-cx-z]c", "amc", false),
        (r"dev-x\x2dy.swap", r"dev-x\x2dy.swap", true),
        (r"dev\*", r"dev\x2d.swap", true),
        ("**a", "bba", true),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} against {name}");
    }
}

#[test]
fn malformed() {
    assert_eq!(Pattern::new(""), Err(PatternError::Empty));
    for text in ["[", "a[b", "a[]", "a[!]", "a[!"] {
        assert_eq!(Pattern::new(text), Err(PatternError::Unclosed), "{text}");
    }
    assert_eq!(
        Pattern::new("[z-a]"),
        Err(PatternError::EmptyRange { from: 'z', to: 'a' })
    );
}

fn decided(entries: &[(&str, &str)], unit: &str) -> Priority {
    let lines: String = entries
        .iter()
        .map(|(p, priority)| format!("'{p}' = '{priority}'\n"))
        .collect();
    Config::from_text("f", &format!("[units]\n{lines}"))
        .unwrap()
        .priority(unit)
}

#[test]
fn exact_then_longest_prefix_then_star() {
    let entries = [
        ("*", "low"),
        ("db*", "medium"),
        ("db-main*", "high"),
        ("db-main.service", "critical"),
    ];
    assert_eq!(decided(&entries, "db-main.service"), Priority::Critical);
    assert_eq!(decided(&entries, "db-main@1.service"), Priority::High);
    assert_eq!(decided(&entries, "db-x.service"), Priority::Medium);
    assert_eq!(decided(&entries, "web.service"), Priority::Low);
    // An exact name wins even where it says less.
    assert_eq!(
        decided(&[("a*", "critical"), ("a.service", "observe")], "a.service"),
        Priority::Observe
    );
}

#[test]
fn ties() {
    // Equally long beginnings: more literal characters, then fewer stars, then the higher priority.
    assert_eq!(
        decided(&[("db*", "high"), ("db*.service", "low")], "db1.service"),
        Priority::Low
    );
    assert_eq!(
        decided(&[("db?.service", "low"), ("db*.service", "high")], "db1.service"),
        Priority::Low
    );
    assert_eq!(
        decided(
            &[("db[1].service", "low"), ("db?.service", "high")],
            "db1.service"
        ),
        Priority::High
    );
    assert_eq!(
        decided(&[("*.service", "low"), ("*", "high")], "x.service"),
        Priority::Low
    );
}

#[test]
fn protected_units_are_never_acted_upon() {
    let config = Config::from_text("f", "[units]\n'*' = 'critical'").unwrap();
    for unit in [
        "init.scope",
        "memmon.service",
        "dbus-broker.service",
        "systemd-journald@x.service",
        "-.slice",
    ] {
        assert!(!config.may_act_on(unit), "{unit}");
        assert_eq!(
            config.priority(unit),
            Priority::Critical,
            "what is configured is told as it is"
        );
    }
    assert!(config.may_act_on("omnimind.service"));
}

#[test]
fn a_unit_file_lowers_but_does_not_raise() {
    assert_eq!(Priority::High.lowered_by(Some(Priority::Low)), Priority::Low);
    assert_eq!(
        Priority::High.lowered_by(Some(Priority::Critical)),
        Priority::High
    );
    assert_eq!(Priority::High.lowered_by(None), Priority::High);
    assert_eq!("medium".parse(), Ok(Priority::Medium));
    let error = "urgent".parse::<Priority>().unwrap_err().to_string();
    assert!(
        error.contains("\"urgent\"") && error.contains("\"critical\""),
        "{error}"
    );
}

#[test]
fn the_words_are_those_of_serde() {
    for word in ["observe", "low", "medium", "high", "critical"] {
        let json: Priority = serde_json::from_value(word.into()).unwrap();
        assert_eq!(json.as_str(), word);
        assert_eq!(word.parse(), Ok(json));
    }
}

/// The textbook definition, exponential and obvious.
fn reference(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skip| reference(rest, &name[skip..])),
        Some((one, rest)) => name
            .split_first()
            .is_some_and(|(c, tail)| (*one == '?' || one == c) && reference(rest, tail)),
    }
}

proptest! {
    #[test]
    fn agrees_with_the_textbook(pattern in "[ab?*]{1,10}", name in "[ab]{0,12}") {
        let expected = reference(&Vec::from_iter(pattern.chars()), &Vec::from_iter(name.chars()));
        prop_assert_eq!(matches(&pattern, &name), expected);
    }

    #[test]
    fn a_name_matches_itself_and_every_beginning_with_a_star(name in r"[a-zA-Z0-9:_.\\@-]{1,40}", cut in 0usize..40) {
        prop_assert!(matches(&name, &name));
        let cut = cut.min(name.len());
        let pattern = format!("{}*", &name[..cut]);
        prop_assert!(matches(&pattern, &name));
    }

    #[test]
    fn no_text_makes_it_panic(pattern in any::<String>(), name in any::<String>()) {
        if let Ok(pattern) = Pattern::new(&pattern) {
            pattern.matches(&name);
        }
    }

    #[test]
    fn the_decision_does_not_depend_on_the_order(
        entries in proptest::collection::btree_map("a?[ab?*]{0,4}[*]", 0usize..5, 1..8)
            .prop_flat_map(|map| (Just(Vec::from_iter(map.clone())), Just(Vec::from_iter(map)).prop_shuffle())),
        unit in "[ab]{1,6}",
    ) {
        let words = ["observe", "low", "medium", "high", "critical"];
        let decide = |entries: &[(String, usize)]| {
            let entries: Vec<_> = entries.iter().map(|(p, w)| (p.as_str(), words[*w])).collect();
            decided(&entries, &unit)
        };
        prop_assert_eq!(decide(&entries.0), decide(&entries.1));
    }
}
