#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod real;
mod sending;

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::policy::{AlarmKind, MonoTime, Severity};
use crate::testing::schema::assert_valid;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> MonoTime {
    MonoTime(seconds * 1_000_000_000)
}

fn alert(id: &str, since: MonoTime) -> Alert {
    Alert {
        id: id.to_owned(),
        kind: AlarmKind::SwapOut,
        resource: None,
        unit: format!("{id}.service"),
        severity: Severity::Critical,
        reason: "kswapd took it".to_owned(),
        pages: 3,
        since,
        over: None,
    }
}

/// What is sent at `now`, as ids with a mark for those that are over; the target takes it.
fn take(delivery: &mut Delivery, now: MonoTime) -> Vec<String> {
    match delivery.next(now) {
        Step::Wait(_) => Vec::new(),
        Step::Send(alerts) => {
            delivery.sent(&alerts, now);
            alerts
                .iter()
                .map(|alert| format!("{}{}", alert.id, if alert.over.is_some() { " over" } else { "" }))
                .collect()
        }
    }
}

#[test]
fn each_alarm_is_told_once_as_on_and_once_as_over() {
    let (mut board, mut delivery) = (Board::default(), Delivery::once(8));
    delivery.update(&board, at(1));
    assert_eq!(delivery.next(at(1)), Step::Wait(None));
    board.raise(alert("a", at(1)));
    for _ in 0..3 {
        delivery.update(&board, at(1));
    }
    assert_eq!(take(&mut delivery, at(1)), ["a"]);
    assert_eq!(delivery.next(at(9)), Step::Wait(None));
    board.clear("a", 9, at(10));
    delivery.update(&board, at(10));
    assert_eq!(take(&mut delivery, at(10)), ["a over"]);
    delivery.update(&board, at(11));
    assert_eq!(take(&mut delivery, at(11)), [""; 0]);
    assert!(delivery.is_settled());
}

#[test]
fn a_target_that_forgets_is_reminded_until_it_is_over() {
    let (mut board, mut delivery) = (Board::default(), Delivery::repeating(MINUTE));
    board.raise(alert("a", at(0)));
    delivery.update(&board, at(0));
    assert_eq!(take(&mut delivery, at(0)), ["a"]);
    assert_eq!(delivery.next(at(59)), Step::Wait(Some(at(60))));
    assert_eq!(take(&mut delivery, at(60)), ["a"]);
    board.clear("a", 3, at(70));
    delivery.update(&board, at(70));
    assert_eq!(take(&mut delivery, at(70)), ["a over"]);
    assert_eq!(delivery.next(at(1000)), Step::Wait(None));
}

/// A target that is down for an hour, while alarms come and go: it is asked ever less often, told of once, and gets
/// the state of things when it is back.
#[test]
fn an_hour_without_the_target() {
    let (mut board, mut delivery) = (Board::default(), Delivery::once(512));
    let (mut tries, mut notes) = (0, Vec::new());
    for second in 0..3600 {
        let now = at(second);
        if second % 10 == 0 {
            board.raise(alert(&format!("{:04}", second), now));
        }
        if second % 10 == 5 {
            board.clear(&format!("{:04}", second - 5), 1, now);
        }
        delivery.update(&board, now);
        if let Step::Send(_) = delivery.next(now) {
            tries += 1;
            notes.extend(delivery.failed(now));
        }
    }
    assert!((10..30).contains(&tries), "{tries}");
    assert_eq!(notes, [Note::Down]);
    board.raise(alert("last", at(3600)));
    delivery.update(&board, at(3600));
    let back = at(3600 + 300);
    let Step::Send(alerts) = delivery.next(back) else {
        panic!("it is time")
    };
    assert_eq!(delivery.sent(&alerts, back), Some(Note::Up(tries)));
    assert_eq!(alerts.len(), 361);
    let on: Vec<&str> = alerts
        .iter()
        .filter(|alert| alert.over.is_none())
        .map(|alert| alert.id.as_str())
        .collect();
    assert_eq!(on, ["last"]);
}

#[test]
fn alarms_beyond_the_limit_are_said_and_make_room_again() {
    let (mut board, mut delivery) = (Board::default(), Delivery::once(1000));
    for n in 0..600 {
        board.raise(alert(&format!("{n:03}"), at(0)));
    }
    assert_eq!(delivery.update(&board, at(0)), Some(Note::TooMany(88)));
    assert_eq!(take(&mut delivery, at(0)).len(), 512);
    for n in 0..100 {
        board.clear(&format!("{n:03}"), 1, at(1));
    }
    delivery.update(&board, at(1));
    assert_eq!(take(&mut delivery, at(1)).len(), 100);
    assert_eq!(delivery.update(&board, at(2)), None);
    assert_eq!(take(&mut delivery, at(2)).len(), 88);
}

#[test]
fn what_the_board_has_forgotten_is_over() {
    let (mut board, mut delivery) = (Board::default(), Delivery::once(1000));
    for n in 0..400 {
        board.raise(alert(&format!("{n:03}"), at(0)));
    }
    delivery.update(&board, at(0));
    assert_eq!(take(&mut delivery, at(0)).len(), 400);
    // More end at once than the board keeps.
    for n in 0..400 {
        board.clear(&format!("{n:03}"), 1, at(1));
    }
    delivery.update(&board, at(1));
    let told = take(&mut delivery, at(1));
    assert!(told.len() == 400 && told.iter().all(|alert| alert.ends_with(" over")));
    assert!(delivery.is_settled());
}

#[derive(Clone, Debug)]
enum Event {
    Raise(u8),
    Clear(u8),
    /// The target is asked and says yes or no.
    Ask(bool),
    Pause(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6_u8).prop_map(Event::Raise),
        (0..6_u8).prop_map(Event::Clear),
        any::<bool>().prop_map(Event::Ask),
        (0..400_u16).prop_map(Event::Pause),
    ]
}

proptest! {
    /// Whatever happens, in whatever order: once the target takes everything, it has been told of the end of every
    /// alarm that it was told of, never of an end before a beginning that came later, and of what is still on.
    #[test]
    fn the_target_ends_up_knowing(events in prop::collection::vec(event(), 0..80)) {
        let (mut board, mut delivery) = (Board::default(), Delivery::once(2));
        let mut on: std::collections::BTreeMap<u8, String> = std::collections::BTreeMap::new();
        let mut known: std::collections::BTreeMap<String, bool> = std::collections::BTreeMap::new();
        let (mut now, mut count) = (at(0), 0);
        for event in events.into_iter().chain(std::iter::repeat_n(Event::Ask(true), 60)) {
            match event {
                Event::Raise(unit) => {
                    on.entry(unit).or_insert_with(|| {
                        count += 1;
                        let id = format!("{unit}-{count}");
                        board.raise(alert(&id, now));
                        id
                    });
                }
                Event::Clear(unit) => {
                    if let Some(id) = on.remove(&unit) {
                        board.clear(&id, 1, now);
                    }
                }
                Event::Pause(seconds) => now = now.after(Duration::from_secs(seconds.into())),
                Event::Ask(yes) => {
                    now = now.after(Duration::from_secs(300));
                    delivery.update(&board, now);
                    if let Step::Send(alerts) = delivery.next(now) {
                        if yes {
                            delivery.sent(&alerts, now);
                            for alert in alerts {
                                let over = alert.over.is_some();
                                let before = known.insert(alert.id.clone(), over);
                                prop_assert!(before != Some(true) && before != Some(over), "told twice");
                            }
                        } else {
                            delivery.failed(now);
                        }
                    }
                }
            }
        }
        prop_assert!(delivery.is_settled());
        let believed: Vec<&String> = known.iter().filter(|(_, over)| !**over).map(|(id, _)| id).collect();
        let mut really: Vec<&String> = on.values().collect();
        really.sort();
        prop_assert_eq!(believed, really);
    }
}

#[tokio::test]
async fn what_a_killed_agent_has_left_on_is_told_to_be_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alarms.json");
    assert_eq!(left_on(&path).unwrap(), []);
    let on = [alert("a", at(1)), alert("b", at(2))];
    let (publish, watching) = tokio::sync::watch::channel(board(&on));
    let keeping = tokio::spawn(keep(path.clone(), watching));
    sending::until("both are on record", || left_on(&path).unwrap() == on).await;
    // It is killed here, and the next one starts.
    let mut delivery = Delivery::once(8);
    delivery.update(&Board::after(left_on(&path).unwrap(), at(9)), at(9));
    assert_eq!(take(&mut delivery, at(9)), ["a over", "b over"]);
    // One that ends as it should leaves nothing.
    publish.send_modify(|board| board.clear_all(at(10)));
    drop(publish);
    keeping.await.unwrap();
    assert!(!path.exists());
    std::fs::write(&path, "[{").unwrap();
    assert!(left_on(&path).is_err());
}

/// A board as its owner publishes it.
fn board(alerts: &[Alert]) -> Board {
    let mut board = Board::default();
    for alert in alerts {
        board.raise(alert.clone());
    }
    board
}

#[test]
fn the_messages() {
    let context = document::Context {
        host: "host-1".to_owned(),
        clock_offset: 1_767_323_045_000_000_000,
    };
    let over = Alert {
        over: Some(at(70)),
        pages: 9,
        ..alert("b", at(10))
    };
    let alerts = [Arc::new(alert("a", at(5))), Arc::new(over)];
    let pretty = |bytes: Vec<u8>| {
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let sent = document::alertmanager(&context, &alerts, at(100), MINUTE).unwrap();
    insta::assert_snapshot!("alertmanager", pretty(sent));
    let message = document::message(&context, &alerts).unwrap();
    assert_valid("memmon.alerts/1", &serde_json::from_slice(&message).unwrap());
    insta::assert_snapshot!("webhook", pretty(message));
}

#[test]
fn a_forecast_is_an_alert_of_its_own() {
    let context = document::Context {
        host: "host-1".to_owned(),
        clock_offset: 0,
    };
    let forecast = |resource: &str| {
        Arc::new(Alert {
            kind: AlarmKind::Forecast,
            resource: Some(resource.to_owned()),
            unit: "(host)".to_owned(),
            severity: Severity::Warning,
            pages: 0,
            ..alert(resource, at(5))
        })
    };
    let alerts = [forecast("ram"), forecast("swap")];
    let sent = document::alertmanager(&context, &alerts, at(100), MINUTE).unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent[0]["labels"]["alertname"], "MemmonExhaustion");
    assert!(
        sent[0]["annotations"]["runbook_url"]
            .as_str()
            .is_some_and(|url| url.ends_with("#memmonexhaustion")),
        "{sent}"
    );
    assert_ne!(sent[0]["labels"], sent[1]["labels"], "or one would end the other");
    let told: serde_json::Value =
        serde_json::from_slice(&document::message(&context, &alerts).unwrap()).unwrap();
    assert_eq!(
        (&told["alerts"][1]["kind"], &told["alerts"][1]["resource"]),
        (&"forecast".into(), &"swap".into())
    );
    // What an agent of an earlier version has kept is about pages.
    let old: Alert = serde_json::from_str(
        r#"{"id":"1-1","unit":"a.service","severity":"critical","reason":"why","pages":1,"since":1,"over":null}"#,
    )
    .unwrap();
    assert_eq!((old.kind, old.resource), (AlarmKind::SwapOut, None));
}
