use super::replace;

#[test]
fn only_what_is_between_the_marks_changes() {
    let page = "# Title\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n## Elsewhere\n";
    assert_eq!(
        replace(page, "new\n").as_deref(),
        Some("# Title\n<!-- bench:begin -->\n\nnew\n\n<!-- bench:end -->\n## Elsewhere\n")
    );
    assert_eq!(replace("# Title\n", "new\n"), None);
}
