#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::serve;

fn answers(requests: &str) -> Vec<String> {
    let mut output = Vec::new();
    serve(requests.as_bytes(), &mut output).unwrap();
    String::from_utf8(output)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn memory_is_mapped_filled_and_given_back() {
    let answers = answers("map anon 8192\nfill 0\ntouch 0\nswapped 0\nunmap 0\nfill 0\n");
    let words: Vec<&str> = answers[0].split(' ').collect();
    assert_eq!((words[0], words[1], words[3]), ("ok", "0", "8192"));
    assert_eq!(&answers[1..3], ["ok ", "ok "]);
    assert!(answers[3].starts_with("ok "), "{}", answers[3]);
    assert_eq!(&answers[4..], ["ok ", "no region 0"]);
}

#[test]
fn nonsense_is_answered_in_words() {
    assert_eq!(
        answers("dance\nmap glue 1\nfill x\n"),
        [
            "no such request: dance",
            "no kind of memory is called glue",
            "not a number: x"
        ]
    );
}
