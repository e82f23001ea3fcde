//! Targets that answer as they please.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

/// Answers each request with the next of `answers`, then with 200; keeps the bodies.
async fn target(
    listener: TcpListener,
    answers: &'static [&'static str],
    bodies: Arc<Mutex<Vec<serde_json::Value>>>,
) {
    let mut answers = answers.iter();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let body = loop {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&part[..read]);
            let text = String::from_utf8_lossy(&request);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                assert!(head.starts_with("POST /hook?x=1 HTTP/1.1"), "{head}");
                break body.to_owned();
            }
        };
        let answer = answers.next().copied().unwrap_or("200 OK");
        if answer != "hang up" {
            if answer.starts_with("200") {
                bodies.lock().unwrap().push(serde_json::from_str(&body).unwrap());
            }
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 3\r\n\r\nwhy");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

fn statuses(bodies: &Mutex<Vec<serde_json::Value>>) -> Vec<String> {
    let bodies = bodies.lock().unwrap();
    let alerts = bodies.iter().flat_map(|body| body["alerts"].as_array().unwrap());
    alerts
        .map(|alert| {
            format!(
                "{} {}",
                alert["id"].as_str().unwrap(),
                alert["status"].as_str().unwrap()
            )
        })
        .collect()
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test]
async fn a_webhook_that_fails_first_gets_everything_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/hook?x=1", listener.local_addr().unwrap());
    let bodies = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(target(listener, &["500 Oops", "hang up"], Arc::clone(&bodies)));
    let (publish, watching) = watch::channel(board(&[alert("a", at(1))]));
    let task = tokio::spawn(deliver(
        Sender::Webhook(uri.parse().unwrap()),
        "host-1".to_owned(),
        watching,
    ));
    until("the alarm arrives", || statuses(&bodies) == ["a firing"]).await;
    publish.send_modify(|board| board.clear("a", 5, at(9)));
    until("its end arrives", || {
        statuses(&bodies) == ["a firing", "a resolved"]
    })
    .await;
    assert_eq!(bodies.lock().unwrap()[1]["alerts"][0]["pages"], 5);
    drop(publish);
    tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_target_will_never_take_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/hook?x=1", listener.local_addr().unwrap());
    let bodies = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(target(listener, &["400 Never"], Arc::clone(&bodies)));
    let (publish, watching) = watch::channel(board(&[alert("a", at(1))]));
    tokio::spawn(deliver(
        Sender::Webhook(uri.parse().unwrap()),
        "host-1".to_owned(),
        watching,
    ));
    tokio::task::yield_now().await;
    publish.send_modify(|board| board.raise(alert("b", at(2))));
    until("the next alarm arrives", || {
        statuses(&bodies).iter().any(|told| told == "b firing")
    })
    .await;
    // Unless both went out together, "a" was refused.
    assert!(
        statuses(&bodies)
            .iter()
            .filter(|told| told.starts_with('a'))
            .count()
            <= 1
    );
}

#[tokio::test]
async fn a_program_gets_one_alarm_at_a_time_and_no_privileged_environment() {
    let dir = tempfile::tempdir().unwrap();
    let (script, told) = (dir.path().join("hook"), dir.path().join("told"));
    // Fails once: then it is run again.
    let text = format!(
        "#!/bin/sh\n[ -e {0}.once ] || {{ : > {0}.once; exit 1; }}\n\
         {{ cat; printf ' %s %s\\n' \"$1\" \"${{HOME-none}}\"; }} >> {0}\n",
        told.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let program = vec![
        script.to_string_lossy().into_owned(),
        "an argument; rm -rf".to_owned(),
    ];
    let (publish, watching) = watch::channel(board(&[alert("a", at(1)), alert("b", at(2))]));
    let task = tokio::spawn(deliver(Sender::Exec(program), "host-1".to_owned(), watching));
    let lines = || fs::read_to_string(&told).unwrap_or_default();
    until("both alarms were told", || lines().lines().count() == 2).await;
    drop(publish);
    tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
    for (line, id) in lines().lines().zip(["a", "b"]) {
        let (document, rest) = line.rsplit_once("} ").unwrap();
        let document: serde_json::Value = serde_json::from_str(&format!("{document}}}")).unwrap();
        assert_eq!(document["alerts"].as_array().unwrap().len(), 1);
        assert_eq!(document["alerts"][0]["id"], id);
        assert_eq!(rest, "an argument; rm -rf none");
    }
}
