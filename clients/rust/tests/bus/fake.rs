//! A bus of our own, and an agent on it that only keeps books.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use zbus::{Connection, connection::Builder, fdo, interface, message::Header};

/// A private bus. Ends with the value.
pub(crate) struct Bus {
    dir: TempDir,
    daemon: Child,
    pub(crate) address: String,
}

impl Bus {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let address = format!("unix:path={}", dir.path().join("bus").display());
        let daemon = daemon(&dir, &address);
        Self { dir, daemon, address }
    }

    pub(crate) fn stop(&mut self) {
        self.daemon.kill().expect("killed");
        self.daemon.wait().expect("ended");
    }

    pub(crate) fn restart(&mut self) {
        fs::remove_file(self.dir.path().join("bus")).ok();
        self.daemon = daemon(&self.dir, &self.address);
    }
}

fn daemon(dir: &TempDir, address: &str) -> Child {
    let config = dir.path().join("bus.conf");
    let text = format!(
        "<busconfig><listen>{address}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
         <allow user=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>"
    );
    fs::write(&config, text).expect("a file");
    let mut daemon = Command::new("dbus-daemon")
        .args(["--nofork", "--print-address", "--config-file"])
        .arg(&config)
        .stdout(Stdio::piped())
        .spawn()
        .expect("dbus-daemon: is it installed?");
    // It prints the address once it listens.
    let mut line = String::new();
    let stdout = daemon.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert!(line.starts_with("unix:"), "dbus-daemon said {line:?}");
    // For processes that change their user, too.
    for (path, mode) in [(dir.path().to_owned(), 0o755), (dir.path().join("bus"), 0o777)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("its own");
    }
    daemon
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

/// A call the agent got.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) untag: bool,
    pub(crate) id: u64,
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) label: String,
}

/// What outlives the bus, as the real agent's tags do.
struct Books {
    last: u64,
    tags: BTreeSet<u64>,
    refusal: String,
    events: mpsc::Sender<Event>,
}

/// Whether a process has not changed users since it connected.
async fn same_user(conn: &Connection, header: &Header<'_>) -> fdo::Result<()> {
    let bus = Some("org.freedesktop.DBus");
    let sender = header.sender().expect("on a bus");
    let ask = async |method| -> zbus::Result<u32> {
        let reply = conn
            .call_method(bus, "/org/freedesktop/DBus", bus, method, sender)
            .await?;
        reply.body().deserialize()
    };
    let (uid, pid) = (
        ask("GetConnectionUnixUser").await?,
        ask("GetConnectionUnixProcessID").await?,
    );
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    if status.contains(&format!("\nUid:\t{uid}\t{uid}\t")) {
        return Ok(());
    }
    Err(fdo::Error::AccessDenied(
        "connect again after changing users".to_owned(),
    ))
}

struct Manager(Arc<Mutex<Books>>);

#[interface(name = "org.omnimind.memmon1.Manager")]
impl Manager {
    async fn tag_region(
        &self,
        start: u64,
        len: u64,
        label: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] conn: &Connection,
    ) -> fdo::Result<u64> {
        same_user(conn, &header).await?;
        let mut books = self.0.lock().expect("books");
        if !books.refusal.is_empty() {
            return Err(fdo::Error::LimitsExceeded(books.refusal.clone()));
        }
        books.last += 1;
        let id = books.last;
        books.tags.insert(id);
        let event = Event {
            untag: false,
            id,
            start,
            len,
            label,
        };
        books.events.send(event).ok();
        Ok(id)
    }

    fn untag_region(&self, id: u64) -> fdo::Result<()> {
        let mut books = self.0.lock().expect("books");
        if !books.tags.remove(&id) {
            return Err(fdo::Error::InvalidArgs(format!("no tag {id}")));
        }
        let event = Event {
            untag: true,
            id,
            ..Event::default()
        };
        books.events.send(event).ok();
        Ok(())
    }
}

/// The agent. Leaves the bus with the value.
pub(crate) struct Agent {
    books: Arc<Mutex<Books>>,
    events: mpsc::Receiver<Event>,
    /// Units to ask for memory, and bytes; it leaves the bus when this is closed.
    requests: Option<UnboundedSender<(String, u64)>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start(bus: &Bus, refusal: &str) -> Self {
        let (sender, events) = mpsc::channel();
        let books = Books {
            last: 0,
            tags: BTreeSet::new(),
            refusal: refusal.to_owned(),
            events: sender,
        };
        let mut agent = Self {
            books: Arc::new(Mutex::new(books)),
            events,
            requests: None,
            thread: None,
        };
        agent.connect(bus);
        agent
    }

    /// Leaves the bus it was on, and goes to this one with all it knows.
    pub(crate) fn connect(&mut self, bus: &Bus) {
        self.leave();
        let (requests, mut asked) = unbounded_channel::<(String, u64)>();
        let manager = Manager(Arc::clone(&self.books));
        let address = bus.address.clone();
        let serve = async move {
            let conn = Builder::address(address.as_str())
                .serve_at("/org/omnimind/memmon1", manager)
                .name("org.omnimind.memmon1")
                .build()
                .await
                .expect("on the bus");
            while let Some(request) = asked.recv().await {
                let sent = conn.emit_signal(
                    None::<&str>,
                    "/org/omnimind/memmon1",
                    "org.omnimind.memmon1.Manager",
                    "ReleaseRequested",
                    &request,
                );
                sent.await.expect("sent");
            }
            drop(conn);
        };
        self.requests = Some(requests);
        self.thread = Some(thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve);
        }));
    }

    fn leave(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }

    /// How many regions are registered.
    pub(crate) fn tags(&self) -> usize {
        self.books.lock().expect("books").tags.len()
    }

    pub(crate) fn request_release(&self, unit: &str, bytes: u64) {
        let requests = self.requests.as_ref().expect("still there");
        requests.send((unit.to_owned(), bytes)).expect("still there");
    }

    pub(crate) fn event(&self) -> Event {
        self.events.recv_timeout(Duration::from_secs(20)).expect("a call")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.leave();
    }
}

pub(crate) fn wait_for(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::sleep(Duration::from_millis(5));
    }
}
