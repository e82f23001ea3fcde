use std::{io::Read, os::unix::net::UnixListener};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Source, base64, from};

fn ready(source: &Source) -> bool {
    let mut fds = [PollFd::new(source, source.events)];
    let timeout = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&timeout)).expect("polling") == 1
}

#[test]
fn decodes_base64() {
    for (text, bytes) in [
        ("", &b""[..]),
        ("Zg==", b"f"),
        ("Zm8=", b"fo"),
        ("Zm9v", b"foo"),
        ("c29tZSAxMDAwMDAgMTAwMDAwMAA=", b"some 100000 1000000\0"),
        ("+/+/", b"\xfb\xff\xbf"),
    ] {
        assert_eq!(base64(text.as_bytes()).as_deref(), Some(bytes), "{text}");
    }
    for bad in ["Z", "Zg=", "Z===", "Zm 9", "Zg==Zg==", "====", "Zm9?"] {
        assert_eq!(base64(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn watches_a_fifo() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a FIFO");
    let source = from(Some(path.clone().into()), None).expect("watched");
    assert_eq!(source.events, PollFlags::IN);
    for _ in 0..2 {
        std::fs::write(&path, [b'!'; 10_000]).expect("written");
        assert!(ready(&source));
        assert!(source.discard(), "a FIFO has no end");
    }
}

#[test]
fn watches_a_socket_and_writes_to_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a socket");
    let source = from(Some(path.into()), Some("c29tZSAx".into())).expect("watched");
    let (mut peer, _) = listener.accept().expect("a connection");
    let mut written = [0; 6];
    peer.read_exact(&mut written).expect("the data");
    assert_eq!(&written, b"some 1");
    std::io::Write::write_all(&mut peer, b"!").expect("sent");
    assert!(ready(&source));
    assert!(source.discard());
    drop(peer);
    assert!(ready(&source));
    assert!(!source.discard(), "its end");
}

#[test]
fn says_what_cannot_be_watched() {
    for (watch, write, why) in [
        ("/dev/null", "", "switched off"),
        ("relative", "", "not an absolute path"),
        ("/proc/self/status", "?", "not Base64: ?"),
        ("/nonexistent/file", "", "/nonexistent/file: No such file"),
    ] {
        let error = from(Some(watch.into()), Some(write.into())).expect_err(watch);
        assert!(error.contains(why), "{error}");
    }
}
