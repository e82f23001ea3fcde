//! The page's files, and who may see the facts.

use super::*;

#[tokio::test]
async fn the_page_says_what_a_browser_may_do_with_it() {
    let server = start(Guard::Local);
    for path in ["/", "/api/session", "/api/forecast", "/api/history?unit=!"] {
        let answer = server.get(path, "").await.to_ascii_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n",
            "x-content-type-options: nosniff\r\n",
            "referrer-policy: no-referrer\r\n",
            "cross-origin-resource-policy: same-origin\r\n",
            "x-frame-options: deny\r\n",
        ] {
            assert!(answer.contains(header), "{path}: {header}{answer}");
        }
        assert!(
            !answer.contains("set-cookie") && !answer.contains("access-control"),
            "{answer}"
        );
    }
    // The metrics are as they were.
    assert!(
        !server
            .get("/metrics", "")
            .await
            .contains("content-security-policy")
    );
}

#[tokio::test]
async fn files_are_compressed_and_sent_once() {
    let server = start(Guard::Local);
    let plain = server.get("/", "").await;
    assert!(plain.contains("content-type: text/html; charset=utf-8\r\n") && plain.ends_with("\r\n\r\nplain"));
    assert!(plain.contains("cache-control: no-cache\r\n") && plain.contains("vary: Accept-Encoding\r\n"));
    let squeezed = server.get("/", "Accept-Encoding: br, gzip;q=0.8\r\n").await;
    assert!(
        squeezed.contains("content-encoding: gzip\r\n") && squeezed.ends_with("squeezed"),
        "{squeezed}"
    );
    assert!(
        server
            .get("/", "Accept-Encoding: gzip;q=0, br\r\n")
            .await
            .ends_with("plain")
    );
    let tag = |answer: &str| {
        let (_, rest) = answer.split_once("etag: ").unwrap();
        rest.split_once("\r\n").unwrap().0.to_owned()
    };
    assert_ne!(tag(&plain), tag(&squeezed));
    let again = server
        .get("/", &format!("If-None-Match: \"x\", {}\r\n", tag(&plain)))
        .await;
    assert_eq!(status(&again), "304");
    assert!(again.ends_with("\r\n\r\n"), "{again}");
    let other = format!("Accept-Encoding: gzip\r\nIf-None-Match: {}\r\n", tag(&plain));
    assert_eq!(status(&server.get("/", &other).await), "200");
}

#[tokio::test]
async fn only_reading_and_only_what_there_is() {
    let server = start(Guard::Local);
    for (request, wanted) in [
        ("HEAD /", "200"),
        ("POST /", "405"),
        ("PUT /api/history", "405"),
        ("DELETE /api/live", "405"),
        ("POST /api/live", "405"),
        ("GET /index.html", "404"),
        ("GET /../app.js", "404"),
        ("GET /%2e%2e/%2e%2e/etc/passwd", "404"),
        ("GET /app.js%00", "404"),
        ("GET //", "404"),
        ("GET /api", "404"),
        ("GET /api/", "404"),
        ("GET /api/live/", "404"),
        ("GET /api/../api/session", "404"),
        ("GET /API/session", "404"),
    ] {
        assert_eq!(status(&server.exchange(request, "").await), wanted, "{request}");
    }
    assert_eq!(status(&server.get("/", "Host: evil.example\r\n").await), "421");
}

#[test]
fn what_is_built_in_is_whole() {
    let answer = Assets::embedded().answer("/", &HeaderMap::new());
    assert_eq!(answer.status(), 200);
    let shown: Vec<_> = answer.headers().get_all("content-type").iter().collect();
    assert_eq!(shown, ["text/html; charset=utf-8"]);
}

#[tokio::test]
async fn with_a_token_nothing_is_told_without_it() {
    let server = start(token());
    let wrong = "0123456789abcdee";
    for (more, wanted) in [
        (String::new(), "401"),
        (format!("Authorization: Bearer {wrong}\r\n"), "401"),
        (format!("Authorization: Bearer {SECRET}0\r\n"), "401"),
        (format!("Authorization: Bearer {}\r\n", &SECRET[..15]), "401"),
        ("Authorization: Bearer \r\n".to_owned(), "401"),
        (format!("Authorization: Basic {SECRET}\r\n"), "401"),
        (format!("Cookie: memmon={wrong}\r\n"), "401"),
        (format!("Cookie: xmemmon={SECRET}\r\n"), "401"),
        (format!("Authorization: Bearer {SECRET}\r\n"), "204"),
        (format!("authorization: bearer {SECRET}\r\n"), "204"),
        (format!("Cookie: a=b; memmon={SECRET}\r\n"), "204"),
        // Of another server on this host, by the same name.
        (format!("Cookie: memmon={wrong}; memmon={SECRET}\r\n"), "204"),
    ] {
        let answer = server.get("/api/session", &more).await;
        assert_eq!(status(&answer), wanted, "{more}");
        if wanted == "401" {
            assert!(
                answer.contains("www-authenticate: Bearer realm=\"memmon\"\r\n"),
                "{answer}"
            );
            assert_valid("memmon.error/1", &document(&answer));
            assert!(!answer.contains(SECRET) && !answer.contains(wrong), "{answer}");
        }
    }
    for path in [
        "/api/live",
        "/api/history",
        "/api/forecast",
        "/api/history?from=x",
    ] {
        assert_eq!(status(&server.get(path, "").await), "401", "{path}");
    }
    // Neither holds facts about units, or is any different from before.
    for path in ["/", "/metrics", "/healthz"] {
        assert_eq!(status(&server.get(path, "").await), "200", "{path}");
    }
    // Names are no matter: whoever knows the token may come through a proxy.
    let proxied = format!("Host: proxy.example\r\nAuthorization: Bearer {SECRET}\r\n");
    assert_eq!(status(&server.get("/api/session", &proxied).await), "204");
}

#[tokio::test]
async fn a_browser_gets_a_cookie_for_the_token() {
    let server = start(token());
    let shown = format!("Content-Length: 0\r\nAuthorization: Bearer {SECRET}\r\n");
    let answer = server.exchange("POST /api/session", &shown).await;
    assert_eq!(status(&answer), "204");
    let cookie = format!("set-cookie: memmon={SECRET}; Path=/; HttpOnly; SameSite=Strict\r\n");
    assert!(answer.contains(&cookie), "{answer}");
    let answer = server
        .exchange("POST /api/session", "Content-Length: 0\r\n")
        .await;
    assert_eq!(status(&answer), "401");
    assert!(!answer.contains("set-cookie"), "{answer}");
    // A right cookie does not make a wrong header into one.
    let mixed = format!("Content-Length: 0\r\nCookie: memmon={SECRET}\r\nAuthorization: Bearer wrong\r\n");
    let answer = server.exchange("POST /api/session", &mixed).await;
    assert!(!answer.contains("set-cookie"), "{answer}");
}

#[tokio::test]
async fn without_a_token_the_page_is_for_the_host_itself() {
    let server = start(Guard::Local);
    for (host, wanted) in [
        ("localhost:9757", "204"),
        ("LOCALHOST", "204"),
        ("127.0.0.1", "204"),
        ("127.1.2.3:1", "204"),
        ("[::1]:9757", "204"),
        // Somebody stands between, and may show it to anybody.
        ("proxy.example", "403"),
        ("192.0.2.1:9757", "403"),
        ("0.0.0.0", "403"),
        ("evil.example", "421"),
    ] {
        let answer = server.get("/api/session", &format!("Host: {host}\r\n")).await;
        assert_eq!(status(&answer), wanted, "{host}");
    }
}

#[tokio::test]
async fn pages_from_elsewhere_take_no_places() {
    let server = start(Guard::Local);
    for (site, wanted) in [
        ("none", "204"),
        ("same-origin", "204"),
        ("same-site", "403"),
        ("cross-site", "403"),
    ] {
        let answer = server
            .get("/api/session", &format!("Sec-Fetch-Site: {site}\r\n"))
            .await;
        assert_eq!(status(&answer), wanted, "{site}");
    }
}

#[test]
fn a_token_is_read_from_a_file_that_is_its_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let read = |text: &str, mode| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        Token::read(&file).map_err(|error| error.to_string())
    };
    assert!(read(&format!("{SECRET}\n"), 0o600).is_ok());
    assert!(read(&"x".repeat(256), 0o400).is_ok());
    for (text, mode, part) in [
        (SECRET, 0o640, "chmod 600"),
        (SECRET, 0o604, "mode 604"),
        ("", 0o600, "/dev/urandom"),
        ("short", 0o600, "16 to 256"),
        (&"x".repeat(257), 0o600, "16 to 256"),
        (&"x".repeat(5000), 0o600, "16 to 256"),
        ("two words that are long", 0o600, "16 to 256"),
        ("0123456789abcdef;x=y", 0o600, "16 to 256"),
        ("0123456789abcdef\nsecond", 0o600, "16 to 256"),
    ] {
        let error = read(text, mode).unwrap_err();
        assert!(error.contains(part) && error.contains("token"), "{error}");
        assert!(text.is_empty() || !error.contains(text), "{error}");
    }
    let missing = Token::read(&dir.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("token_file"), "{missing}");
    assert_eq!(format!("{:?}", Token::new(SECRET).unwrap()), "Token");
}
