use super::*;

const OK: &str = r#"{"case":"smoke.pid1","status":"ok","detail":"systemd","seconds":0.1}"#;
const SKIPPED: &str = r#"{"case":"swap.pswpout","status":"skipped","detail":"before 6.13","seconds":0.0}"#;
const FAILED: &str = r#"{"case":"swap.zram","status":"failed","detail":"no zram","seconds":2}"#;

fn problems(lines: &[&str], console: &str) -> Vec<String> {
    let mut transcript = Transcript::default();
    for line in lines {
        transcript.take(line);
    }
    transcript.problems(console)
}

#[test]
fn a_complete_run_has_no_problems() {
    let lines = [
        r#"{"start":"smoke.pid1"}"#,
        OK,
        SKIPPED,
        r#"{"log":"journal","text":"a\nb"}"#,
        r#"{"measure":"boot_seconds","value":12.5}"#,
        "{\"end\":true,\"ran\":2}\r",
    ];
    assert_eq!(problems(&lines, "Linux version 6.1\nreboot: Power down"), [""; 0]);
}

#[test]
fn a_failed_case_is_a_problem() {
    let found = problems(&[OK, FAILED, r#"{"end":true,"ran":2}"#], "");
    assert_eq!(found, ["swap.zram: no zram"]);
}

#[test]
fn without_an_end_the_case_that_hung_is_named() {
    let found = problems(&[OK, r#"{"start":"swap.zram"}"#], "");
    assert_eq!(found, ["no end: the machine stopped in the case swap.zram"]);
}

#[test]
fn a_run_of_skips_or_of_nothing_fails() {
    assert_eq!(
        problems(&[SKIPPED, r#"{"end":true,"ran":1}"#], ""),
        ["not a single case ran"]
    );
    assert_eq!(
        problems(&[r#"{"end":true,"ran":0}"#], ""),
        ["not a single case ran"]
    );
}

#[test]
fn lost_and_garbled_lines_are_problems() {
    let found = problems(&[OK, "{\"case\":\"swa", r#"{"end":true,"ran":2}"#], "");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("ran 2 cases but 1"), "{found:?}");
    assert!(found[1].contains("not results"), "{found:?}");
}

#[test]
fn a_kernel_that_complains_fails_the_run() {
    let done = [OK, r#"{"end":true,"ran":1}"#];
    for complaint in [
        "[   1.0] BUG: kernel NULL pointer dereference, address: 0",
        "[   2.0] Oops: 0000 [#1] PREEMPT SMP",
        "[   3.0] Kernel panic - not syncing: Attempted to kill init!",
    ] {
        assert_eq!(problems(&done, complaint), [format!("kernel: {complaint}")]);
    }
}

#[test]
fn a_guest_has_begun_with_its_first_words() {
    let mut transcript = Transcript::default();
    transcript.take("  ");
    assert!(!transcript.began(), "an empty line is no word");
    transcript.take(r#"{"start":"smoke"}"#);
    assert!(transcript.began());
}
