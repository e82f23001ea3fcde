//! A message bus of one's own, and an agent on it that says what it is told to say.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use zbus::{Variant, fdo, interface, object_server::SignalEmitter};

const NAME: &str = "org.omnimind.memmon1";
const PATH: &str = "/org/omnimind/memmon1";

/// A `dbus-daemon` that allows everything to everybody.
pub(crate) struct Bus {
    daemon: Child,
    pub(crate) address: String,
}

impl Bus {
    pub(crate) fn start(dir: &Path) -> Self {
        let address = format!("unix:path={}", dir.join("bus").display());
        let config = dir.join("bus.conf");
        let text = format!(
            "<busconfig><listen>{address}</listen><auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/>\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>"
        );
        fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--print-address", "--config-file"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is needed for this test (Debian: apt install dbus)");
        let mut line = String::new();
        let stdout = daemon.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(line.starts_with("unix:"), "dbus-daemon said {line:?}");
        Self { daemon, address }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

/// What the agent answers, and how often it was asked.
#[derive(Default)]
struct Shared {
    report: Mutex<String>,
    asked: AtomicUsize,
    /// With each answer this goes on by a step.
    playing: Mutex<Option<u64>>,
}

struct Manager(Arc<Shared>);

#[interface(name = "org.omnimind.memmon1.Manager")]
impl Manager {
    async fn get_report(&self) -> fdo::Result<String> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(step) = &mut *self.0.playing.lock().unwrap() {
            *step += 1;
            return Ok(crate::documents::report(*step).to_string());
        }
        let report = self.0.report.lock().unwrap().clone();
        if report.is_empty() {
            // One that hangs.
            std::future::pending::<()>().await;
        }
        Ok(report)
    }

    #[zbus(signal)]
    async fn alarm_raised(
        emitter: &SignalEmitter<'_>,
        id: &str,
        unit: &str,
        severity: &str,
        reason: &str,
        details: HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn alarm_cleared(emitter: &SignalEmitter<'_>, id: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn limit_changed(
        emitter: &SignalEmitter<'_>,
        unit: &str,
        property: &str,
        old: u64,
        new: u64,
        reason: &str,
    ) -> zbus::Result<()>;
}

/// A signal to be sent.
pub(crate) enum Signal {
    Raised {
        id: &'static str,
        unit: &'static str,
        reason: &'static str,
    },
    Cleared(&'static str),
    Limit {
        unit: &'static str,
        new: u64,
        reason: &'static str,
    },
}

/// The agent; it leaves the bus with the value.
pub(crate) struct Agent {
    shared: Arc<Shared>,
    signals: Option<mpsc::Sender<(Signal, oneshot::Sender<()>)>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Agent {
    /// Returns when it has its name.
    pub(crate) fn start(bus: &Bus, report: &Value) -> Self {
        let shared = Arc::new(Shared::default());
        *shared.report.lock().unwrap() = report.to_string();
        let (signals, received) = mpsc::channel(16);
        let (ready, is_ready) = oneshot::channel();
        let (address, manager) = (bus.address.clone(), Manager(Arc::clone(&shared)));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(&address, manager, received, ready));
        });
        is_ready.blocking_recv().expect("the agent comes to the bus");
        Self {
            shared,
            signals: Some(signals),
            thread: Some(thread),
        }
    }

    /// With each answer a further step has passed.
    pub(crate) fn plays(&self, step: u64) {
        *self.shared.playing.lock().unwrap() = Some(step);
    }

    /// What it says from now on.
    pub(crate) fn says(&self, report: &Value) {
        *self.shared.playing.lock().unwrap() = None;
        *self.shared.report.lock().unwrap() = report.to_string();
    }

    /// It does not answer from now on.
    pub(crate) fn hangs(&self) {
        self.shared.report.lock().unwrap().clear();
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Sends a signal; returns when it is on its way.
    pub(crate) fn tells(&self, signal: Signal) {
        let (done, is_done) = oneshot::channel();
        self.signals
            .as_ref()
            .unwrap()
            .blocking_send((signal, done))
            .ok()
            .unwrap();
        is_done.blocking_recv().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.signals.take());
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

async fn serve(
    address: &str,
    manager: Manager,
    mut signals: mpsc::Receiver<(Signal, oneshot::Sender<()>)>,
    ready: oneshot::Sender<()>,
) {
    let builder = zbus::connection::Builder::address(address);
    let builder = builder.serve_at(PATH, manager).name(NAME);
    let connection = builder.build().await.unwrap();
    let emitter = SignalEmitter::new(&connection, PATH).unwrap();
    ready.send(()).unwrap();
    while let Some((signal, done)) = signals.recv().await {
        let sent = match signal {
            Signal::Raised { id, unit, reason } => {
                Manager::alarm_raised(&emitter, id, unit, "critical", reason, HashMap::new()).await
            }
            Signal::Cleared(id) => Manager::alarm_cleared(&emitter, id).await,
            Signal::Limit { unit, new, reason } => {
                Manager::limit_changed(&emitter, unit, "MemorySwapMax", u64::MAX, new, reason).await
            }
        };
        sent.unwrap();
        done.send(()).unwrap();
    }
    connection.close().await.unwrap();
}
