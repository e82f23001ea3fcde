#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn line(ts: u32, unit: &str, pages: u64, kind: &str, by: &str) -> String {
    format!(
        r#"{{"schema":"memmon.swap_out/1","ts":"2026-01-02T03:04:{ts:02}.000000Z","unit":"{unit}",
        "cgroup":"/system.slice/{unit}","cgroup_id":7,"pages":{pages},"priority":"observe",
        "reclaimer":{{"kind":"{kind}","unit":"{by}","pid":1,"comm":"x"}},"page":null}}"#
    )
}

fn end(pages: u64, shown: u64, ledger: &str) -> String {
    format!(
        r#"{{"schema":"memmon.trace_end/1","pages":{pages},"file_pages":1,"lost_events":0,"shown_pages":{shown},
        "unattributed_pages":0,"overflow_pages":0,"recursion_misses":0,"ledger":{ledger}}}"#
    )
}

fn stream(lines: &[String]) -> Stream {
    let mut stream = Stream::default();
    for line in lines {
        stream.take(line).unwrap();
    }
    stream
}

const EXACT: &str = r#"{"write_folio":31,"pswpout":22,"zswpout":5,"zero":6,"zswpwb":3,"swap_write":22}"#;

fn two(ledger: &str) -> Stream {
    stream(&[
        line(1, "a.service", 10, "limit", "a.service"),
        line(2, "b.service", 20, "limit", "a.service"),
        end(30, 30, ledger),
    ])
}

#[test]
fn a_stream_that_adds_up_is_balanced() {
    let stream = two(EXACT);
    assert_eq!(stream.balanced().unwrap(), 30);
    assert_eq!(stream.complete().unwrap(), 30);
    assert_eq!(stream.only("b.service", "limit", "a.service").unwrap(), 20);
}

#[test]
fn each_ledger_is_compared() {
    for wrong in [
        r#"{"write_folio":30,"pswpout":22,"zswpout":5,"zero":6,"zswpwb":3,"swap_write":22}"#,
        r#"{"write_folio":31,"pswpout":22,"zswpout":4,"zero":6,"zswpwb":3,"swap_write":22}"#,
        r#"{"write_folio":31,"pswpout":22,"zswpout":5,"zero":6,"zswpwb":3,"swap_write":21}"#,
        r#"{"write_folio":null,"pswpout":22,"zswpout":5,"zero":6,"zswpwb":3,"swap_write":22}"#,
    ] {
        assert!(two(wrong).balanced().is_err(), "{wrong}");
    }
}

#[test]
fn a_second_ledger_with_gaps_is_left_out() {
    let ledger = r#"{"write_folio":31,"pswpout":22,"zswpout":5,"zero":6,"zswpwb":3,"swap_write":null}"#;
    assert!(two(ledger).balanced().is_ok());
}

#[test]
fn pages_may_be_dropped_but_not_appear() {
    let fewer = two(r#"{"write_folio":31,"pswpout":20,"zswpout":5,"zero":6,"zswpwb":3,"swap_write":20}"#);
    assert_eq!(fewer.counted().unwrap(), (30, 2));
    assert!(fewer.balanced().is_err());
    let more = two(r#"{"write_folio":31,"pswpout":23,"zswpout":5,"zero":6,"zswpwb":3,"swap_write":23}"#);
    assert!(more.counted().is_err());
}

#[test]
fn nothing_swapped_is_no_success() {
    let ledger = r#"{"write_folio":1,"pswpout":0,"zswpout":null,"zero":null,"zswpwb":null,"swap_write":0}"#;
    assert!(stream(&[end(0, 0, ledger)]).balanced().is_err());
    assert!(two(EXACT).only("c.service", "limit", "a.service").is_err());
}

#[test]
fn one_stray_line_spoils_only() {
    let stream = two(EXACT);
    assert!(stream.only("a.service", "limit", "b.service").is_err());
    assert!(stream.only("a.service", "direct", "a.service").is_err());
}

#[test]
fn at_once_means_overlapping() {
    let a = |ts| line(ts, "a.service", 1, "limit", "a.service");
    let b = |ts| line(ts, "b.service", 1, "limit", "b.service");
    let units = ["a.service", "b.service"];
    assert!(stream(&[a(1), b(2), a(3), b(4)]).at_once(&units).is_ok());
    assert!(stream(&[a(1), b(2), b(3), a(4)]).at_once(&units).is_ok());
    assert!(stream(&[a(1), a(2), b(3), b(4)]).at_once(&units).is_err());
    assert!(
        stream(&[a(1), a(2)]).at_once(&units).is_err(),
        "one of them not at all"
    );
}

#[test]
fn nothing_follows_the_end() {
    let mut stream = two(EXACT);
    assert!(stream.take(&line(3, "a.service", 1, "limit", "x")).is_err());
    assert!(stream.take("not a line").is_err());
}
