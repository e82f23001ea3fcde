#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use super::*;

const DEB822: &str = "\
Types: deb
# a comment inside a stanza
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFit2ioBEADhWpZ8
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb-src
URIs: http://mirror.example/debian-src-only
Suites: bookworm
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib

Enabled: no
Types: deb
URIs: http://mirror.example/debian-off
Suites: sid
Components: main
";

const LIST: &str = "\
# deb http://mirror.example/debian-commented bookworm main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/node.gpg] https://node.example/node_20.x nodistro main
deb [ trusted=yes ] http://mirror.example/debian-security bookworm-security main # the updates
deb\thttp://mirror.example/debian   bookworm  main contrib
";

fn chosen() -> Option<Mirrors> {
    Some(Mirrors {
        archive: "http://mirror.example/debian".into(),
        security: Some("http://mirror.example/debian-security".into()),
    })
}

#[test]
fn reads_deb822_stanzas() {
    let sources = parse_deb822(DEB822);
    assert_eq!(sources.len(), 2, "deb-src and disabled stanzas are no sources");
    assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
    assert_eq!(choose(&sources), chosen());
}

#[test]
fn reads_one_line_sources() {
    let sources = parse_list(LIST);
    assert_eq!(sources.len(), 3, "deb-src and comments are no sources");
    assert_eq!(
        choose(&sources),
        chosen(),
        "a third party's archive is not Debian's"
    );
}

#[test]
fn reads_both_forms_from_a_directory() {
    let apt = tempfile::tempdir().unwrap();
    let parts = apt.path().join("sources.list.d");
    fs::create_dir(&parts).unwrap();
    fs::write(parts.join("debian.sources"), DEB822).unwrap();
    fs::write(
        parts.join("old.list.disabled"),
        "deb http://mirror.example/debian-off sid main",
    )
    .unwrap();
    assert_eq!(choose(&read(apt.path()).unwrap()), chosen());
}

#[test]
fn an_empty_configuration_names_no_mirror() {
    assert_eq!(choose(&[]), None);
}
