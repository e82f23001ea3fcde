//! Stored history and forecasts.

use super::*;

const NOW: i64 = 1_800_000_000;

#[test]
fn ranges_have_defaults() {
    let range = |query| Range::read(query, NOW).unwrap();
    assert_eq!(
        range(""),
        Range {
            unit: HOST.to_owned(),
            from: NOW + 1 - 3600,
            to: NOW + 1
        }
    );
    assert_eq!(
        range("unit=db%40main.service&from=0&to=60").unit,
        "db@main.service"
    );
    assert_eq!(range("to=4000&").from, 400);
    assert_eq!(range("unit=dev-x%5Cx2dy.swap").unit, "dev-x\\x2dy.swap");
    assert_eq!(range("unit=%28host%29").unit, HOST);
}

#[tokio::test]
async fn what_cannot_be_meant_is_an_error_that_names_it() {
    let server = start(Guard::Local);
    let long = format!("unit={}", "x".repeat(300));
    for (query, parameter, part) in [
        ("from=yesterday", "from", "whole seconds"),
        ("from=-1", "from", "is no moment"),
        ("to=99999999999999", "to", "is no moment"),
        ("to=9223372036854775808", "to", "is no moment"),
        ("from=1e9", "from", "is no moment"),
        ("from=", "from", "is no moment"),
        ("from=100&to=100", "from", "one minute to 31 days"),
        ("from=200&to=100", "from", "-100 seconds before"),
        ("from=0&to=2764800", "from", "31 days"),
        ("unit=", "unit", "no name of a unit"),
        ("unit=a%20b", "unit", "no name of a unit"),
        ("unit=..%2F..%2Fetc", "unit", "no name of a unit"),
        ("unit=x%27;drop", "unit", "no name of a unit"),
        ("unit=%ff", "unit", "percent-encoding"),
        ("unit=%4", "unit", "percent-encoding"),
        ("unit=%zz", "unit", "percent-encoding"),
        ("unit=%00", "unit", "no name of a unit"),
        (&long, "unit", "no name of a unit"),
        ("from=0&from=1", "from", "given twice"),
        ("limit=5", "limit", "unit, from and to"),
    ] {
        let answer = server.get(&format!("/api/history?{query}"), "").await;
        assert_eq!(status(&answer), "400", "{query}");
        let problem = document(&answer);
        assert_valid("memmon.error/1", &problem);
        assert_eq!(problem["parameter"], parameter, "{query}");
        let words = format!("{} {}", problem["problem"], problem["remedy"]);
        assert!(words.contains(part), "{query}: {words}");
        assert!(problem["value"].as_str().unwrap().len() <= 255, "{query}");
    }
}

#[tokio::test]
async fn without_a_database_it_says_how_to_get_one() {
    let server = start(Guard::Local);
    for path in ["/api/history", "/api/forecast"] {
        let answer = server.get(path, "").await;
        assert_eq!(status(&answer), "404");
        let problem = document(&answer);
        assert!(
            problem["remedy"].as_str().unwrap().contains("[history]"),
            "{problem}"
        );
    }
}

fn seconds() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap()
}

#[tokio::test]
async fn stored_history_comes_as_columns_with_its_forecast() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let keep = Keep {
        seconds: 1_000_000,
        bytes: 100 << 20,
    };
    let mut store = Store::open(&path, keep).unwrap();
    let now = seconds();
    // A unit that grows by a mebibyte a minute, with 200 left.
    for minute in 0..90_u32 {
        let sample = |unit: &str| Sample {
            unit: unit.to_owned(),
            memory: (u64::from(minute) + 100) << 20,
            memory_limit: Some(390 << 20),
            swap: 4096,
            swapped_out: 2,
            stalled_us: 3,
        };
        let at = now - 90 * 60 + i64::from(minute) * 60;
        let samples = vec![sample(HOST), sample("a.service")];
        store
            .tick(&Tick {
                at,
                samples,
                swap_total: None,
            })
            .unwrap();
    }
    let alarm = |kind, at| Event {
        at,
        kind,
        unit: Some("a.service".to_owned()),
        text: "process 4242424 of a.service".to_owned(),
        data: Some(serde_json::json!({ "pid": 4_242_424 })),
    };
    store.event(&alarm(EventKind::Alarm, now - 1000)).unwrap();
    store.event(&alarm(EventKind::Cleared, now - 900)).unwrap();
    store.event(&alarm(EventKind::Decision, now - 950)).unwrap();
    let live = Live::new(answering(Some(report())).0);
    let server = start_with(Guard::Local, live, &path);

    let query = format!("/api/history?unit=a.service&from={}&to={}", now - 3600, now + 1);
    let answer = server.get(&query, "").await;
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    assert!(!answer.contains("4242424"), "{answer}");
    let past = document(&answer);
    assert_valid("memmon.past/1", &past);
    assert_eq!(past["at"].as_array().unwrap().len(), 60);
    assert_eq!(past["swapped_out_pages"][5], 2);
    assert_eq!(past["memory_limit_bytes"][0], 390 << 20);
    let raised: Vec<_> = past["alarms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alarm| &alarm["raised"])
        .collect();
    assert_eq!(raised, [true, false]);
    assert_eq!(past["forecast"]["outcome"], "exhausts");
    let expected = past["forecast"]["expected_seconds"].as_f64().unwrap();
    assert!((expected - 201.0 * 60.0).abs() < 600.0, "{past}");

    let unknown = document(&server.get("/api/history?unit=none.service", "").await);
    assert_eq!(
        (&unknown["at"], &unknown["forecast"]),
        (&serde_json::json!([]), &Value::Null)
    );

    let all = document(&server.get("/api/forecast", "").await);
    assert_valid("memmon.forecast/1", &all);
    let resources: Vec<_> = all["forecasts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["resource"])
        .collect();
    assert!(
        resources.contains(&&Value::from("ram")) && resources.contains(&&Value::from("memory_max")),
        "{all}"
    );
}

#[tokio::test]
async fn more_questions_than_can_be_answered_are_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let keep = Keep {
        seconds: 1_000_000,
        bytes: 100 << 20,
    };
    Store::open(&path, keep).unwrap();
    let archive = Archive::start(path).unwrap();
    let now = seconds();
    // All are asked before this thread lets anybody answer.
    let questions = (0..100).map(|_| archive.history(Range::read("", now).unwrap()));
    let answers = futures_util::future::join_all(questions).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((8..100).contains(&answered), "{answered}");
    assert!(archive.forecast().await.is_ok());
}

#[test]
fn a_cookie_is_only_for_the_right_token() {
    let mut headers = HeaderMap::new();
    assert_eq!(token().cookie(&headers), None);
    headers.insert(
        "authorization",
        HeaderValue::from_static("Bearer 0123456789abcdef"),
    );
    assert!(token().cookie(&headers).is_some());
    assert_eq!(Guard::Local.cookie(&headers), None);
}
