use proptest::prelude::*;

use super::*;

fn declared(files: &[&str]) -> Declaration {
    let mut declaration = Declaration::default();
    for text in files {
        declaration.read("a.service", text);
    }
    declaration
}

fn priority(files: &[&str]) -> Option<Priority> {
    let declaration = declared(files);
    assert_eq!(declaration.problems, [""; 0]);
    declaration.priority
}

#[test]
fn only_the_unit_section_counts() {
    assert_eq!(
        priority(&["[Unit]\nDescription=x\nX-MemmonPriority=low\n"]),
        Some(Priority::Low)
    );
    assert_eq!(priority(&["[Service]\nX-MemmonPriority=low\n"]), None);
    assert_eq!(priority(&["X-MemmonPriority=low\n[Unit]\n"]), None);
    assert_eq!(
        priority(&["[Unit]\n[X-Unit]\nX-MemmonPriority=low\n[Unit]\n x-memmonpriority=low"]),
        None
    );
    assert_eq!(
        priority(&["[Service]\nA=b\n[Unit]\n  X-MemmonPriority \t=  high  "]),
        Some(Priority::High)
    );
    assert_eq!(
        priority(&["\u{feff}[Unit]\r\nX-MemmonPriority=high\r\n"]),
        Some(Priority::High)
    );
}

#[test]
fn later_assignments_and_files_win_and_an_empty_one_resets() {
    let unit = "[Unit]\nX-MemmonPriority=critical\nX-MemmonPriority=high\n";
    assert_eq!(priority(&[unit]), Some(Priority::High));
    assert_eq!(
        priority(&[unit, "[Unit]\nX-MemmonPriority=observe"]),
        Some(Priority::Observe)
    );
    assert_eq!(priority(&[unit, "[Unit]\nX-MemmonPriority="]), None);
    assert_eq!(
        priority(&[
            unit,
            "[Unit]\nX-MemmonPriority=",
            "[Unit]\nX-MemmonPriority=medium"
        ]),
        Some(Priority::Medium)
    );
}

#[test]
fn comments_and_continuation_lines_are_those_of_systemd() {
    assert_eq!(
        priority(&["[Unit]\n#X-MemmonPriority=low\n;X-MemmonPriority=low\n"]),
        None
    );
    assert_eq!(
        priority(&["[Unit]\nDescription=a \\\nX-MemmonPriority=low\n"]),
        None
    );
    assert_eq!(
        priority(&["[Unit]\nDescription=a \\\n# a comment\nX-MemmonPriority=low\n"]),
        None
    );
    assert_eq!(
        priority(&["[Unit]\nDescription=a\\\\\nX-MemmonPriority=low\n"]),
        Some(Priority::Low)
    );
    assert_eq!(
        priority(&["[Unit]\nX-MemmonPriority=\\\n  low\n"]),
        Some(Priority::Low)
    );
    assert_eq!(priority(&["[Unit]\nX-MemmonPriority=low\\"]), Some(Priority::Low));
}

#[test]
fn what_is_no_priority_is_named_and_passed_over() {
    let declaration = declared(&["[Unit]\nX-MemmonPriority=low\nX-MemmonPriority=Critical\n"]);
    assert_eq!(declaration.priority, Some(Priority::Low));
    assert_eq!(declaration.problems.len(), 1);
    let problem = &declaration.problems[0];
    assert!(
        problem.starts_with("a.service:3: X-MemmonPriority=Critical is ignored: "),
        "{problem}"
    );
    assert!(
        problem.contains("observe") && problem.contains("critical"),
        "{problem}"
    );
}

proptest! {
    #[test]
    fn a_declaration_is_found_among_any_harmless_lines(
        before in prop::collection::vec("([A-Z][a-z]{0,8}=[ -\\[\\]-~]{0,20}|#.{0,20}|;.{0,20}|)", 0..8),
        after in prop::collection::vec("([A-Z][a-z]{0,8}=[ -\\[\\]-~]{0,20}|#.{0,20}|)", 0..8),
        name in prop::sample::select(vec!["observe", "low", "medium", "high", "critical"]),
    ) {
        let text = format!("[Unit]\n{}\nX-MemmonPriority={name}\n{}\n", before.join("\n"), after.join("\n"));
        let declaration = declared(&[&text]);
        prop_assert_eq!(format!("{:?}", declaration.priority).to_lowercase(), format!("some({name})"));
    }

    #[test]
    fn no_text_makes_it_panic_or_invent_a_value(text in "(\\[Unit\\]|X-MemmonPriority=?|low|x|\\\\|\n|#| ){0,30}") {
        let declaration = declared(&[&text]);
        prop_assert!(declaration.priority.is_none() || text.contains("low"));
    }
}
