#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use super::*;
use crate::guest::cases;

fn names(patterns: &[&str]) -> Vec<&'static str> {
    let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    let selected = select(&cases::all(), &patterns).unwrap();
    selected.iter().map(|case| case.name).collect()
}

#[test]
fn names_are_unique_and_say_their_topic() {
    let mut all = cases::all();
    all.extend(cases::soak::CASES);
    let unique: BTreeSet<_> = all.iter().map(|case| case.name).collect();
    assert_eq!(unique.len(), all.len(), "two cases have the same name");
    for case in all {
        assert!(case.name.contains('.'), "{} lacks its topic", case.name);
        assert!(case.seconds > 0, "{} has no time to run", case.name);
    }
}

#[test]
fn patterns_select_each_case_once() {
    let all = names(&[]);
    assert_eq!(names(&["*"]), all);
    let smoke = names(&["smoke.*"]);
    assert!(!smoke.is_empty() && smoke.len() <= all.len());
    assert_eq!(names(&["smoke.pid1"]), ["smoke.pid1"]);
}

#[test]
fn a_pattern_without_a_case_is_an_error() {
    assert!(select(&cases::all(), &["smoke.*".into(), "no-such-case".into()]).is_err());
}
