use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::config::Priority;

type Fields = Vec<(String, String)>;

/// Takes a datagram apart as JOURNAL_NATIVE_PROTOCOL says.
fn decode(mut bytes: &[u8]) -> Fields {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    while !bytes.is_empty() {
        let end = bytes
            .iter()
            .position(|&b| b == b'\n' || b == b'=')
            .expect("a name and its end");
        let (name, rest) = (text(&bytes[..end]), &bytes[end + 1..]);
        let length = if bytes[end] == b'=' {
            (
                0,
                rest.iter()
                    .position(|&b| b == b'\n')
                    .expect("the end of the value"),
            )
        } else {
            let prefix = rest[..8].try_into().expect("eight bytes");
            (8, usize::try_from(u64::from_le_bytes(prefix)).expect("a length"))
        };
        let (skip, length) = length;
        fields.push((name, text(&rest[skip..skip + length])));
        assert_eq!(rest[skip + length], b'\n', "a newline ends every field");
        bytes = &rest[skip + length + 1..];
    }
    fields
}

fn receive(socket: &UnixDatagram) -> Fields {
    let mut buffer = vec![0; 1 << 18];
    let length = socket.recv(&mut buffer).expect("a datagram");
    decode(&buffer[..length])
}

fn get<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(field, _)| field == name)
        .map(|(_, value)| value.as_str())
}

/// What went to stderr.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }
}

struct Setup {
    dir: tempfile::TempDir,
    lines: Lines,
    journal: Journal,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().expect("temporary directory");
    let lines = Lines::default();
    let journal = Journal::new(&dir.path().join("socket"), Box::new(lines.clone()));
    Setup { dir, lines, journal }
}

fn listen(setup: &Setup) -> UnixDatagram {
    let socket = UnixDatagram::bind(setup.dir.path().join("socket")).expect("binding");
    socket.set_nonblocking(true).expect("non-blocking");
    socket
}

fn alarm() -> Entry<'static> {
    Entry {
        unit: Some("omnimind.service"),
        priority: Some(Priority::Critical),
        pages: Some(3),
        reclaimer: Some("backup.service"),
        reclaim_kind: Some("direct"),
        reason: Some("first line\nsecond = line"),
        ..Entry::new(Message::AlarmRaised, "omnimind.service is being swapped out")
    }
}

#[test]
fn an_entry_arrives_with_all_its_fields() {
    let mut setup = setup();
    let socket = listen(&setup);
    setup.journal.write(&alarm());
    let fields = receive(&socket);
    let expected = [
        ("MESSAGE", "omnimind.service is being swapped out"),
        ("MESSAGE_ID", "2bf90796cba34b948eaf73a3ebf01184"),
        ("PRIORITY", "2"),
        ("SYSLOG_IDENTIFIER", "memmon"),
        ("OBJECT_SYSTEMD_UNIT", "omnimind.service"),
        ("MEMMON_UNIT", "omnimind.service"),
        ("MEMMON_PRIORITY", "critical"),
        ("MEMMON_PAGES", "3"),
        ("MEMMON_RECLAIMER", "backup.service"),
        ("MEMMON_RECLAIM_KIND", "direct"),
        ("MEMMON_REASON", "first line\nsecond = line"),
    ];
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(fields, expected);
    assert_eq!(
        (setup.journal.waiting(), setup.journal.lost(), setup.lines.text()),
        (0, 0, String::new())
    );
}

#[test]
fn limits_have_their_values_and_a_cgroup_is_no_systemd_unit() {
    let mut setup = setup();
    let socket = listen(&setup);
    let entry = Entry {
        unit: Some("/docker/abc"),
        property: Some("MemorySwapMax"),
        old: Some("infinity"),
        new: Some("0"),
        ..Entry::new(Message::LimitChanged, "x")
    };
    setup.journal.write(&entry);
    let fields = receive(&socket);
    assert_eq!(get(&fields, "OBJECT_SYSTEMD_UNIT"), None);
    assert_eq!(get(&fields, "MEMMON_UNIT"), Some("/docker/abc"));
    let values = ["MEMMON_PROPERTY", "MEMMON_OLD", "MEMMON_NEW"].map(|name| get(&fields, name));
    assert_eq!(values, [Some("MemorySwapMax"), Some("infinity"), Some("0")]);
    assert_eq!(get(&fields, "PRIORITY"), Some("4"));
}

#[test]
fn without_journald_the_same_goes_to_stderr_on_one_line() {
    let mut setup = setup();
    setup.journal.write(&alarm());
    let text = setup.lines.text();
    assert_eq!(text.matches('\n').count(), 1);
    for part in [
        "memmon: omnimind.service is being swapped out MESSAGE_ID=2bf90796cba34b948eaf73a3ebf01184",
        "MEMMON_RECLAIMER=\"backup.service\"",
        "MEMMON_REASON=\"first line\\nsecond = line\"",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // journald may start later.
    let socket = listen(&setup);
    setup.journal.write(&alarm());
    assert_eq!(get(&receive(&socket), "MEMMON_PAGES"), Some("3"));
    assert_eq!(setup.lines.text(), text);
}

#[test]
fn a_stuck_journald_is_not_waited_for_and_gets_all_in_order_later() {
    let mut setup = setup();
    let socket = listen(&setup);
    let mut written = 0;
    while setup.journal.waiting() < 5 {
        setup.journal.write(&Entry {
            pages: Some(written),
            ..alarm()
        });
        written += 1;
        assert!(written < 100_000, "the socket never fills up");
    }
    let mut received = Vec::new();
    while received.len() < usize::try_from(written).expect("few") {
        received.push(
            get(&receive(&socket), "MEMMON_PAGES")
                .expect("there")
                .parse::<u64>()
                .expect("a number"),
        );
        setup.journal.flush();
    }
    assert_eq!(received, (0..written).collect::<Vec<_>>());
    assert_eq!((setup.journal.waiting(), setup.journal.lost()), (0, 0));
}

#[test]
fn too_many_waiting_entries_lose_the_oldest_and_are_counted() {
    let mut setup = setup();
    let socket = listen(&setup);
    while setup.journal.waiting() == 0 {
        setup.journal.write(&alarm());
    }
    for pages in 1..WAITING as u64 + 10 {
        setup.journal.write(&Entry {
            pages: Some(1000 + pages),
            ..alarm()
        });
    }
    assert_eq!((setup.journal.waiting(), setup.journal.lost()), (WAITING, 10));
    let mut last = None;
    while setup.journal.flush() > 0 || last != Some(1000 + WAITING as u64 + 9) {
        last = get(&receive(&socket), "MEMMON_PAGES")
            .expect("there")
            .parse()
            .ok();
    }
}

#[test]
fn ids_are_128_bits_and_all_different() {
    let ids: std::collections::HashSet<_> = MESSAGES.iter().map(|message| message.id()).collect();
    assert_eq!(ids.len(), MESSAGES.len());
    assert!(ids.iter().all(|id| {
        id.len() == 32
            && id
                .bytes()
                .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    }));
}

/// Path of a file of the repository.
fn shipped(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn catalog_and_documentation_explain_every_message() {
    let catalog = shipped("packaging/memmon.catalog");
    let explained: Vec<&str> = catalog
        .lines()
        .filter_map(|line| line.strip_prefix("-- "))
        .collect();
    assert_eq!(explained, MESSAGES.map(Message::id), "in this order, each once");
    let documentation = shipped("docs/journal.md");
    let full = Entry {
        property: Some(""),
        old: Some(""),
        new: Some(""),
        region: Some(""),
        pid: Some(1),
        address: Some(4096),
        asked: Some(0),
        still_out: Some(0),
        resource: Some(""),
        earliest: Some(0),
        latest: Some(0),
        ..alarm()
    };
    let fields: Vec<_> = full.fields().into_iter().map(|(name, _)| name).collect();
    for message in MESSAGES {
        assert!(
            documentation.contains(message.id()),
            "{message:?} is not in docs/journal.md"
        );
    }
    for field in &fields {
        assert!(
            documentation.contains(&format!("`{field}=`")),
            "{field}= is not in docs/journal.md"
        );
    }
    // @FIELD@ in the catalog is replaced by the entry's field of that name.
    for (index, reference) in catalog.split('@').enumerate().filter(|(index, _)| index % 2 == 1) {
        assert!(
            fields.contains(&reference),
            "@{reference}@ (number {index}) is no field of ours"
        );
    }
}

proptest! {
    #[test]
    fn any_value_survives_or_is_cut_between_characters(
        values in prop::collection::vec("(.|\n|ä|=){0,40}", 1..6),
        long in 0..20_000usize,
    ) {
        let long = "ä€".repeat(long / 5);
        let fields: Vec<_> = values.into_iter().chain([long]).map(|value| ("MEMMON_REASON", value)).collect();
        let decoded = decode(&encode::datagram(&fields));
        prop_assert_eq!(decoded.len(), fields.len());
        for ((_, sent), (_, got)) in fields.iter().zip(&decoded) {
            match got.strip_suffix('…') {
                Some(start) if sent.len() > 8192 => prop_assert!(sent.starts_with(start) && got.len() > 8180),
                _ => prop_assert_eq!(sent, got),
            }
        }
    }
}
