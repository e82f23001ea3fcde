use super::chosen;

#[test]
fn the_marked_choice_is_the_value_to_restore() {
    assert_eq!(chosen("always [madvise] never"), "madvise");
    assert_eq!(chosen("60"), "60");
    assert_eq!(chosen("[always] madvise"), "always");
}
