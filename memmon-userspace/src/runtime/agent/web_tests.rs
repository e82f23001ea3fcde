#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::{
    config::{Config, Listen},
    export::{http::Feed, metrics::Facts},
};

fn socket(address: &str) -> Socket {
    let listen = Listen::Tcp(address.parse().unwrap());
    http::open(&listen).unwrap().remove(0)
}

fn port(socket: &Socket) -> u16 {
    let Socket::Tcp(listener) = socket else {
        panic!("{socket}")
    };
    listener.local_addr().unwrap().port()
}

fn config(text: &str) -> config::Http {
    Config::from_text("f.toml", &format!("[http]\n{text}"))
        .unwrap()
        .http
}

#[test]
fn the_page_is_for_this_host_or_has_a_token() {
    let here = [socket("127.0.0.1:0")];
    assert!(guard(&config(""), &here).unwrap().is_none());
    assert!(guard(&config("page = true"), &[]).unwrap().is_none());
    assert!(matches!(
        guard(&config("page = true"), &here),
        Ok(Some(Guard::Local))
    ));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let with_token = config(&format!("page = true\ntoken_file = {file:?}"));
    assert!(guard(&with_token, &here).is_err());
    std::fs::write(&file, "0123456789abcdef").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(guard(&with_token, &here), Ok(Some(Guard::Token(_)))));
}

async fn status(port: u16, path: &str) -> String {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap_or("none").to_owned()
}

async fn serve(page: Option<Guard>) -> [u16; 2] {
    let sockets = vec![socket("127.0.0.1:0"), socket("0.0.0.0:0")];
    let ports = [port(&sockets[0]), port(&sockets[1])];
    let routes = http::routes(Feed::new(Box::new(|| Box::pin(async { Some(Facts::default()) }))));
    let (reports, _) = mpsc::channel(1);
    let (_, board) = watch::channel(Board::default());
    Serving { sockets, page }.serve(routes, Hosts::default(), &reports, board);
    ports
}

#[tokio::test]
async fn what_others_reach_has_no_page_without_a_token() {
    let [here, elsewhere] = serve(Some(Guard::Local)).await;
    for (port, path, wanted) in [
        (here, "/", "200"),
        (here, "/api/session", "204"),
        (here, "/metrics", "200"),
        (elsewhere, "/", "404"),
        (elsewhere, "/api/session", "404"),
        (elsewhere, "/api/live", "404"),
        (elsewhere, "/metrics", "200"),
    ] {
        assert_eq!(status(port, path).await, wanted, "{path}");
    }
    let token = Guard::Token(Token::new("0123456789abcdef").unwrap());
    for port in serve(Some(token)).await {
        assert_eq!(status(port, "/").await, "200");
        assert_eq!(status(port, "/api/session").await, "401");
        assert_eq!(status(port, "/metrics").await, "200");
    }
    for port in serve(None).await {
        assert_eq!(status(port, "/").await, "404");
        assert_eq!(status(port, "/metrics").await, "200");
    }
}
