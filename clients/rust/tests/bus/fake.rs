//! A bus of our own, and an agent on it that only keeps books.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use zbus::{connection::Builder, fdo, interface};

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
         <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>"
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

struct Manager {
    last: u64,
    refusal: String,
    events: mpsc::Sender<Event>,
}

#[interface(name = "org.omnimind.memmon1.Manager")]
impl Manager {
    fn tag_region(&mut self, start: u64, len: u64, label: String) -> fdo::Result<u64> {
        if !self.refusal.is_empty() {
            return Err(fdo::Error::LimitsExceeded(self.refusal.clone()));
        }
        self.last += 1;
        let id = self.last;
        let event = Event {
            untag: false,
            id,
            start,
            len,
            label,
        };
        self.events.send(event).ok();
        Ok(id)
    }

    fn untag_region(&self, id: u64) {
        let event = Event {
            untag: true,
            id,
            ..Event::default()
        };
        self.events.send(event).ok();
    }
}

/// The agent. Leaves the bus with the value.
pub(crate) struct Agent {
    events: mpsc::Receiver<Event>,
    /// Units to ask for memory, and bytes; it leaves the bus when this is closed.
    requests: Option<UnboundedSender<(String, u64)>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start(bus: &Bus, refusal: &str) -> Self {
        let (sender, events) = mpsc::channel();
        let (requests, mut asked) = unbounded_channel();
        let manager = Manager {
            last: 0,
            refusal: refusal.to_owned(),
            events: sender,
        };
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
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve);
        });
        Self {
            events,
            requests: Some(requests),
            thread: Some(thread),
        }
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
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

pub(crate) fn wait_for(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::sleep(Duration::from_millis(5));
    }
}
