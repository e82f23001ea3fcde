#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

use super::*;
use crate::export::metrics::{Facts, Unit};

/// Nothing here takes a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(30);

struct Server {
    address: SocketAddr,
    _task: JoinHandle<()>,
}

fn feed(facts: Facts) -> Feed {
    Feed::new(Box::new(move || {
        let facts = facts.clone();
        Box::pin(async move { Some(facts) })
    }))
}

fn start(feed: Feed, limits: Limits) -> Server {
    let socket = socket::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let Socket::Tcp(listener) = &socket else {
        panic!("{socket}")
    };
    Server {
        address: listener.local_addr().unwrap(),
        _task: tokio::spawn(serve(vec![socket], routes(feed), Hosts::default(), limits)),
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that the server answers to `request` until it closes the connection.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        // It may answer and close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        said(&mut stream).await
    }

    async fn get(&self, path: &str, more: &str) -> String {
        self.exchange(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"
        ))
        .await
    }
}

async fn said(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer));
    // A reset is an end as well.
    let _ = read.await.expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn both_formats_and_health() {
    let server = start(feed(Facts::default()), Limits::default());
    let text = server.get("/metrics", "").await;
    assert_eq!(status(&text), "200");
    assert!(
        text.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{text}"
    );
    assert!(text.contains("\nmemmon_build_info{version="), "{text}");
    assert!(
        text.contains("x-content-type-options: nosniff\r\n") && text.contains("cache-control: no-store\r\n")
    );
    let open = server
        .get("/metrics", "Accept: application/openmetrics-text\r\n")
        .await;
    assert!(open.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert!(server.get("/healthz", "").await.ends_with("\r\n\r\nok\n"));
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_said() {
    let dead = Feed::new(Box::new(|| Box::pin(async { None })));
    let server = start(dead, Limits::default());
    for path in ["/metrics", "/healthz"] {
        assert_eq!(status(&server.get(path, "").await), "503");
    }
}

#[tokio::test]
async fn requests_at_once_are_one_question() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let counting = Feed::new(Box::new(|| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Some(Facts::default()) })
    }));
    let before = Instant::now();
    for _ in 0..20 {
        counting.facts().await.unwrap();
    }
    let periods = u32::try_from(before.elapsed().as_millis() / 250).unwrap();
    assert!(ASKED.load(Ordering::Relaxed) <= 1 + periods);
}

#[tokio::test]
async fn only_reading_and_only_what_there_is() {
    let server = start(feed(Facts::default()), Limits::default());
    for (request, wanted) in [
        ("GET /metrics HTTP/1.1\r\nHost: localhost", "200"),
        ("HEAD /metrics HTTP/1.1\r\nHost: localhost", "200"),
        (
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0",
            "405",
        ),
        ("DELETE /healthz HTTP/1.1\r\nHost: localhost", "405"),
        ("GET / HTTP/1.1\r\nHost: localhost", "404"),
        ("GET /../metrics HTTP/1.1\r\nHost: localhost", "404"),
        ("GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost", "404"),
        ("GET //metrics HTTP/1.1\r\nHost: localhost", "404"),
        ("GET /metrics/ HTTP/1.1\r\nHost: localhost", "404"),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example", "421"),
        (
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
            "421",
        ),
        ("GET /metrics HTTP/1.1", "421"),
        (
            "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost",
            "421",
        ),
    ] {
        let answer = server
            .exchange(&format!("{request}\r\nConnection: close\r\n\r\n"))
            .await;
        assert_eq!(status(&answer), wanted, "{request}");
    }
}

#[tokio::test]
async fn what_is_malformed_or_too_large_is_refused_and_the_server_goes_on() {
    let server = start(feed(Facts::default()), Limits::default());
    let long = "x".repeat(64 * 1024);
    let many = "X: y\r\n".repeat(1000);
    for (request, wanted) in [
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), ["400", "none"]),
        ("GET\r\n\r\n".to_owned(), ["400", "none"]),
        ("GET /metrics HTTP/9.9\r\n\r\n".to_owned(), ["400", "505"]),
        (
            "GET /metrics HTTP/1.1\r\nHost : localhost\r\n\r\n".to_owned(),
            ["400", "none"],
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ["400", "none"]),
        (
            format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ["414", "431"],
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"),
            ["431", "none"],
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
            ["431", "none"],
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
            ["400", "none"],
        ),
    ] {
        let answer = server.exchange(&request).await;
        let start: String = request.chars().take(40).collect();
        assert!(wanted.contains(&status(&answer)), "{start:?}: {answer}");
    }
    // A body is announced and never sent: the answer does not wait for it.
    let answer = server.get("/metrics", "Content-Length: 1000000000000\r\n").await;
    assert_eq!(status(&answer), "200");
}

#[tokio::test]
async fn headers_that_take_too_long_end_the_connection() {
    let limits = Limits {
        head_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(feed(Facts::default()), limits);
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    // One that is idle after its request.
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(said(&mut silent).await, "");
    said(&mut slow).await;
    assert!(said(&mut idle).await.ends_with("ok\n"));
}

/// A page of twelve megabytes: three times what the kernel keeps for a connection whose other side reads nothing.
fn large() -> Facts {
    let unit = |n: u32| Unit {
        unit: Arc::from(format!("{n}-{}.service", "x".repeat(12_000))),
    };
    Facts {
        swapin: (0..1000).map(|n| (unit(n), 1)).collect::<BTreeMap<_, _>>(),
        ..Facts::default()
    }
}

#[tokio::test]
async fn slow_readers_hold_few_pages_and_not_for_long() {
    let limits = Limits {
        write_time: Duration::from_millis(500),
        ..Limits::default()
    };
    let facts = large();
    let ask: Ask = Box::new(move || {
        let facts = facts.clone();
        Box::pin(async move { Some(facts) })
    });
    let server = start(Feed::keeping(ask, DEADLINE * 10), limits);
    let whole = server.get("/metrics", "").await;
    assert!(whole.len() > 12_000_000, "{}", whole.len());
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut readers = Vec::new();
    for _ in 0..20 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut reader = socket.connect(server.address).await.unwrap();
        reader.write_all(request).await.unwrap();
        readers.push(reader);
    }
    let (mut cut, mut busy) = (0, 0);
    // None is read until the write of each has waited long enough.
    tokio::time::sleep(limits.write_time * 2).await;
    for mut reader in readers {
        let answer = said(&mut reader).await;
        match status(&answer) {
            "200" if answer.len() < whole.len() => cut += 1,
            "503" => busy += 1,
            other => panic!("{other}, {} bytes", answer.len()),
        }
    }
    assert_eq!((cut, busy), (8, 12));
    assert_eq!(status(&server.get("/metrics", "").await), "200");
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test]
async fn a_thousand_connections_cost_no_more_than_the_limit() {
    let limits = Limits {
        head_time: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = start(feed(Facts::default()), limits);
    assert_eq!(status(&server.get("/metrics", "").await), "200");
    let before = resident_kib();
    let mut open = Vec::new();
    for _ in 0..1000 {
        let stream = server.connect().await;
        // Each fills the buffer for its headers without ever ending them.
        let _ = stream.try_write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ");
        let _ = stream.try_write(&[b'x'; 15_000]);
        stream.set_nodelay(true).unwrap();
        open.push(stream);
        tokio::task::yield_now().await;
    }
    let grown = resident_kib().saturating_sub(before);
    // 64 buffers of 16 KiB, and 1,000 sockets on the clients' side.
    assert!(grown < 8 * 1024, "{grown} KiB for a thousand connections");
    let mut turned_away = 0;
    for mut stream in open {
        turned_away += usize::from(status(&said(&mut stream).await) == "503");
    }
    println!("{grown} KiB, {turned_away} turned away");
    assert_eq!(status(&server.get("/metrics", "").await), "200");
}

#[tokio::test]
async fn a_unix_socket_replaces_one_that_nobody_listens_on_and_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let socket = socket::at_path(&path).unwrap();
    assert!(socket::at_path(&path).is_err(), "somebody listens there");
    assert!(!socket.is_reachable_from_elsewhere());
    let task = tokio::spawn(serve(
        vec![socket],
        routes(feed(Facts::default())),
        Hosts::default(),
        Limits::default(),
    ));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    // Whatever the name: no browser can be led here.
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(said(&mut stream).await.ends_with("ok\n"));
    task.abort();
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(socket::at_path(&file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn sockets_of_the_service_manager_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
    let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
    assert!(matches!(socket::from_fd(tcp.into()), Ok(Socket::Tcp(_))));
    assert!(matches!(socket::from_fd(unix.into()), Ok(Socket::Unix(_))));
    // It is no listener, which shows when a connection is to be accepted; here only that nothing panics.
    drop(socket::from_fd(datagram.into()));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(socket::from_fd(file.into()).is_err());
}
