//! The stream of facts.

use super::*;
use crate::{config::Priority, export::json::live::LiveDocument};

/// Reads until `wanted` was said.
async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut said = String::new();
    let mut buffer = [0; 65_536];
    while !said.contains(wanted) {
        let read = timeout(DEADLINE, stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0, "ended after {said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    said
}

async fn watch(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    stream
}

#[tokio::test]
async fn an_event_has_the_facts_and_no_process() {
    let server = start(Guard::Local);
    let said = until(&mut watch(&server).await, "}\n\n").await;
    assert_eq!(status(&said), "200");
    assert!(said.contains("content-type: text/event-stream\r\n"), "{said}");
    assert!(said.contains("cache-control: no-store\r\n"), "{said}");
    assert!(said.contains("retry: 1000\n\n"), "{said}");
    let (_, data) = said.split_once("event: live\ndata: ").unwrap();
    let facts: Value = serde_json::from_str(data.split_once("\n\n").unwrap().0).unwrap();
    assert_valid("memmon.live/1", &facts);
    let at = facts["at"].as_f64().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!((now.as_secs_f64() - at).abs() < DEADLINE.as_secs_f64(), "{at}");
    assert_eq!(facts["units"][0]["unit"], "a.service");
    assert_eq!(facts["units"][0]["swap_bytes"], Value::Null);
    // Two processes, one region.
    assert_eq!(facts["regions"].as_array().unwrap().len(), 1);
    assert_eq!(
        (
            &facts["regions"][0]["pages"],
            &facts["regions"][0]["swapout_pages"]
        ),
        (&20.into(), &2.into())
    );
    assert!(
        !said.contains("4242424") && !said.contains("system.slice"),
        "{said}"
    );
}

#[tokio::test]
async fn many_viewers_are_one_question() {
    let (ask, asked) = answering(Some(report()));
    let server = start_with(Guard::Local, Live::new(ask), Path::new("/dev/null/none"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 0, "nobody watches");
    let began = std::time::Instant::now();
    let mut viewers = Vec::new();
    for _ in 0..20 {
        viewers.push(watch(&server).await);
    }
    for viewer in &mut viewers {
        until(viewer, "event: live").await;
        until(viewer, "event: live").await;
    }
    // Once at the start and once per interval; a viewer that came may have hurried nobody.
    let intervals = usize::try_from(began.elapsed().as_millis() / live::INTERVAL.as_millis()).unwrap();
    let asked_then = asked.load(Ordering::Relaxed);
    assert!(
        (2..=2 + intervals).contains(&asked_then),
        "{asked_then} questions in {intervals} intervals"
    );
    drop(viewers);
    tokio::time::sleep(live::INTERVAL * 2).await;
    let asked_then = asked.load(Ordering::Relaxed);
    tokio::time::sleep(live::INTERVAL * 2).await;
    assert_eq!(
        asked.load(Ordering::Relaxed),
        asked_then,
        "nobody watches any more"
    );
}

#[tokio::test]
async fn what_happens_is_told_at_once() {
    let (ask, asked) = answering(Some(report()));
    let server = start_with(Guard::Local, Live::new(ask), Path::new("/dev/null/none"));
    let mut viewer = watch(&server).await;
    until(&mut viewer, "event: live").await;
    let began = std::time::Instant::now();
    for _ in 0..1000 {
        server.live.nudge();
    }
    until(&mut viewer, "event: live").await;
    assert!(began.elapsed() < live::INTERVAL, "{:?}", began.elapsed());
    // A thousand things at once are one question.
    assert!(asked.load(Ordering::Relaxed) <= 3);
}

#[tokio::test]
async fn further_viewers_are_turned_away_until_one_leaves() {
    let live = Live::for_viewers(answering(Some(report())).0, 2);
    let server = start_with(Guard::Local, live, Path::new("/dev/null/none"));
    let mut first = watch(&server).await;
    let mut second = watch(&server).await;
    until(&mut first, "event: live").await;
    until(&mut second, "event: live").await;
    let third = server.get("/api/live", "").await;
    assert_eq!(status(&third), "503");
    assert!(third.contains("retry-after: "), "{third}");
    assert_valid("memmon.error/1", &document(&third));
    drop(first);
    let place = async {
        loop {
            let mut stream = watch(&server).await;
            if until(&mut stream, "\r\n\r\n").await.contains(" 200 ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, place).await.expect("a place is free again");
}

#[tokio::test]
async fn a_slow_viewer_skips_what_is_overtaken() {
    let (ask, asked) = answering(Some(report()));
    let live = Live::new(ask);
    tokio::spawn(live.clone().run());
    let mut body = live.stream().unwrap().into_body();
    let mut next = async || {
        let frame = timeout(DEADLINE, body.frame()).await.unwrap().unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    assert_eq!(next().await, "retry: 1000\n\n");
    assert!(next().await.starts_with("event: live\n"));
    let before = asked.load(Ordering::Relaxed);
    // It takes nothing while five more events come and go.
    while asked.load(Ordering::Relaxed) < before + 5 {
        live.nudge();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let seen = asked.load(Ordering::Relaxed);
    assert!(next().await.starts_with("event: live\n"));
    // What it got was the latest one: the next is one that was asked for afterwards.
    assert!(next().await.starts_with("event: live\n"));
    assert!(asked.load(Ordering::Relaxed) > seen);
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_said() {
    let server = start_with(
        Guard::Local,
        Live::new(answering(None).0),
        Path::new("/dev/null/none"),
    );
    until(&mut watch(&server).await, "event: silent\ndata: {}\n\n").await;
}

#[test]
fn however_much_there_is_the_event_is_bounded() {
    let mut report = report();
    let priorities = [Priority::Observe, Priority::High];
    report.units = (0..5000)
        .map(|n| {
            unit(
                &format!("unit-{n:04}.service"),
                priorities[usize::from(n % 1000 == 999)],
            )
        })
        .collect();
    let alarm = report.alarms.as_ref().unwrap()[0].clone();
    report.alarms = Some(vec![alarm; 5000]);
    let blame = report.blame.as_ref().unwrap()[0].clone();
    report.blame = Some(vec![blame; 5000]);
    let region = report.regions.as_ref().unwrap()[0].clone();
    report.regions = Some(
        (0..5000)
            .map(|n| crate::export::json::report::RegionField {
                label: format!("label {n}"),
                ..region.clone()
            })
            .collect(),
    );
    let facts = serde_json::to_value(LiveDocument::new(&report, std::time::SystemTime::now())).unwrap();
    assert_valid("memmon.live/1", &facts);
    assert_eq!(
        (&facts["units_total"], &facts["alarms_total"]),
        (&5000.into(), &5000.into())
    );
    // Those that matter come first.
    let names: Vec<_> = facts["units"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unit| &unit["unit"])
        .collect();
    assert_eq!(names[..2], ["unit-0999.service", "unit-1999.service"]);
    let size = facts.to_string().len();
    assert!(size < 150_000, "{size} bytes");
}
