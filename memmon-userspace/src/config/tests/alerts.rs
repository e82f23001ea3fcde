//! `[alerts]` and `[http]`.

use std::path::Path;

use crate::config::Config;

#[test]
fn lists_are_read_and_shown() {
    let text = "[alerts]\nalertmanager = ['http://127.0.0.1:9093', 'http://[::1]:9093/am/']\n\
                exec = ['/bin/hook', 'x y']\n[http]\nhosts = ['metrics.example.org']";
    let config = Config::from_text("f.toml", text).unwrap();
    assert_eq!(config.alerts.alertmanager[1].uri().path(), "/am/");
    assert_eq!(config.alerts.exec, ["/bin/hook", "x y"]);
    assert_eq!(config.http.hosts, ["metrics.example.org"]);
    let again = Config::from_text("g.toml", &config.to_toml()).unwrap();
    assert_eq!(again.changes_since(&config), [""; 0]);
    assert_eq!(config.to_json()["config"]["alerts"]["exec"][1], "x y");
    // A later file's list replaces the earlier one's.
    assert!(Config::default().alerts.webhook.is_empty());
}

#[test]
fn what_cannot_work_is_an_error_where_it_stands() {
    for (text, place, part) in [
        (
            "[alerts]\nwebhook = 'http://a'",
            "2:11",
            "is a string: write a list",
        ),
        ("[alerts]\nwebhook = ['http://a', 7]", "2:24", "is an integer"),
        (
            "[alerts]\nwebhook = ['https://a']",
            "2:12",
            "a proxy on this host",
        ),
        ("[alerts]\nwebhook = ['ftp://a']", "2:12", "is not an address"),
        ("[alerts]\nwebhook = ['http://']", "2:12", "is not an address"),
        (
            "[alerts]\nwebhook = ['127.0.0.1:9093']",
            "2:12",
            "is not an address",
        ),
        ("[alerts]\nexec = ['hook', '/x']", "2:9", "an absolute path"),
        ("[http]\nhosts = ['http://x']", "2:10", "not a host's name"),
        ("[http]\nhosts = ['']", "2:10", "not a host's name"),
        ("[http]\npage = 'yes'", "2:8", "write true or false"),
        ("[http]\ntoken_file = 'token'", "2:14", "not an absolute path"),
        ("[http]\ntoken_file = true", "2:14", "a path in quotes"),
        ("hosts = []", "1:1", "move hosts to [http]"),
    ] {
        let errors = Config::from_text("f.toml", text).expect_err(text).to_string();
        assert!(
            errors.starts_with(&format!("f.toml:{place}: ")),
            "{text}: {errors}"
        );
        assert!(errors.contains(part), "{text}: {errors}");
    }
}

#[test]
fn the_page_is_off_as_shipped_and_its_keys_are_shown() {
    let shipped = Config::default();
    assert!(!shipped.http.page && shipped.http.token_file.is_none());
    let text = "[http]\npage = true\ntoken_file = '/etc/memmon/web.token'";
    let config = Config::from_text("f.toml", text).unwrap();
    assert_eq!(
        config.http.token_file.as_deref(),
        Some(Path::new("/etc/memmon/web.token"))
    );
    let again = Config::from_text("g.toml", &config.to_toml()).unwrap();
    assert_eq!(again.changes_since(&config), [""; 0]);
    assert_eq!(config.to_json()["config"]["http"]["page"], true);
    assert_eq!(shipped.to_json()["config"]["http"]["token_file"], "");
}

#[test]
fn a_page_that_others_could_see_needs_a_token() {
    let page = "[http]\npage = true";
    let token = "token_file = '/t'";
    for listen in ["127.0.0.1:1", "[::1]:1", "unix:/run/x", ""] {
        Config::from_text("f.toml", &format!("listen = '{listen}'\n{page}")).expect(listen);
    }
    for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:127.0.0.1]:1"] {
        let text = format!("listen = '{listen}'\n{page}");
        let errors = Config::from_text("f.toml", &text).expect_err(listen).to_string();
        assert!(errors.starts_with("f.toml:3:8: "), "{errors}");
        assert!(
            errors.contains("token_file") && errors.contains(listen),
            "{errors}"
        );
        Config::from_text("f.toml", &format!("{text}\n{token}")).expect(listen);
        // Metrics alone may be scraped from elsewhere.
        Config::from_text("f.toml", &format!("listen = '{listen}'")).expect(listen);
    }
}
