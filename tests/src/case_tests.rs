#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anyhow::bail;

use super::{Case, run_all};

const CASES: [Case<u32>; 4] = [
    Case {
        name: "good",
        run: |runs| {
            *runs += 1;
            crate::pass!("{} run", *runs)
        },
    },
    Case {
        name: "absent",
        run: |_| crate::skip!("no such file"),
    },
    Case {
        name: "wrong",
        run: |_| bail!("1 is not 2"),
    },
    Case {
        name: "panics",
        run: |_| panic!("on purpose"),
    },
];

#[test]
fn every_end_has_its_line_and_the_last_line_stands_alone() {
    let mut out = Vec::new();
    let mut runs = 0;
    let summary = run_all(&CASES, &mut runs, || false, &mut out).unwrap();
    assert_eq!((summary.passed, summary.failed, summary.skipped), (1, 2, 1));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "PASS good (1 run)\nSKIP absent (no such file)\nFAIL wrong (1 is not 2)\n\
         FAIL panics (panicked: see standard error)\n1 passed, 2 failed, 1 skipped\n"
    );
}

#[test]
fn an_interruption_counts_as_failure() {
    let mut out = Vec::new();
    let summary = run_all(&CASES, &mut 0, || true, &mut out).unwrap();
    assert_eq!((summary.passed, summary.failed), (0, 1));
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("interrupted before good")
    );
}
