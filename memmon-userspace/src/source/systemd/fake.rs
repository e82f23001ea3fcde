//! A D-Bus daemon of our own with a systemd Manager on it that knows what it is told.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use zbus::OwnedObjectPath;
use zbus::connection::Builder;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, DBusError, interface};

pub(super) use crate::testing::bus::Bus;

const MANAGER: &str = "/org/freedesktop/systemd1";

/// A unit of the fake.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeUnit {
    pub(super) aliases: Vec<String>,
    pub(super) control_group: String,
    pub(super) delegate: bool,
    pub(super) fragment: String,
    pub(super) drop_ins: Vec<String>,
    pub(super) state: &'static str,
}

/// What the Manager knows and what it was asked.
#[derive(Debug, Default)]
pub(super) struct State {
    units: BTreeMap<String, FakeUnit>,
    subscribers: HashSet<String>,
    /// `Subscribe` calls of clients that had subscribed already.
    pub(super) repeated: usize,
}

#[derive(DBusError, Debug)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Error {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchUnit(String),
    AlreadySubscribed(String),
}

struct Manager(Arc<Mutex<State>>);

/// id, description, load, active, sub, following, path, job id, job type, job path.
type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test panics with the lock held")
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let sender = header.sender().expect("on a bus").to_string();
        let mut state = lock(&self.0);
        if state.subscribers.insert(sender) {
            return Ok(());
        }
        state.repeated += 1;
        Err(Error::AlreadySubscribed(
            "Client is already subscribed.".to_owned(),
        ))
    }

    fn get_unit(&self, name: &str) -> Result<OwnedObjectPath, Error> {
        let state = lock(&self.0);
        let found = state
            .units
            .iter()
            .find(|(id, unit)| *id == name || unit.aliases.iter().any(|a| a == name));
        found
            .map(|(id, _)| path_of(id))
            .ok_or_else(|| Error::NoSuchUnit(format!("Unit {name} not loaded.")))
    }

    fn list_units_by_patterns(&self, states: Vec<String>, patterns: Vec<String>) -> Vec<Listed> {
        let matches = |name: &str| {
            patterns
                .iter()
                .any(|pattern| name.ends_with(pattern.trim_start_matches('*')))
        };
        let job = || OwnedObjectPath::try_from("/").expect("a path");
        lock(&self.0)
            .units
            .iter()
            .filter(|(name, unit)| matches(name) && states.iter().any(|state| state == unit.state))
            .map(|(name, unit)| {
                let [description, load, sub, following, job_type] =
                    ["", "loaded", "", "", ""].map(str::to_owned);
                let active = unit.state.to_owned();
                (
                    name.clone(),
                    description,
                    load,
                    active,
                    sub,
                    following,
                    path_of(name),
                    0,
                    job_type,
                    job(),
                )
            })
            .collect()
    }

    #[zbus(property)]
    fn version(&self) -> &str {
        "257.7-fake"
    }

    #[zbus(signal)]
    async fn unit_new(emitter: &SignalEmitter<'_>, id: &str, unit: OwnedObjectPath) -> zbus::Result<()>;
    #[zbus(signal)]
    async fn unit_removed(emitter: &SignalEmitter<'_>, id: &str, unit: OwnedObjectPath) -> zbus::Result<()>;
    #[zbus(signal)]
    async fn reloading(emitter: &SignalEmitter<'_>, active: bool) -> zbus::Result<()>;
}

struct UnitObject(String, FakeUnit);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl UnitObject {
    #[zbus(property)]
    fn id(&self) -> &str {
        &self.0
    }
    #[zbus(property)]
    fn names(&self) -> Vec<String> {
        [&self.1.aliases[..], std::slice::from_ref(&self.0)].concat()
    }
    #[zbus(property)]
    fn fragment_path(&self) -> &str {
        &self.1.fragment
    }
    #[zbus(property)]
    fn drop_in_paths(&self) -> Vec<String> {
        self.1.drop_ins.clone()
    }
}

struct ServiceObject(FakeUnit);

#[interface(name = "org.freedesktop.systemd1.Service")]
impl ServiceObject {
    #[zbus(property)]
    fn control_group(&self) -> &str {
        &self.0.control_group
    }
    #[zbus(property)]
    fn delegate(&self) -> bool {
        self.0.delegate
    }
}

fn path_of(unit: &str) -> OwnedObjectPath {
    let escaped: String = unit
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("_{b:02x}")
            }
        })
        .collect();
    OwnedObjectPath::try_from(format!("{MANAGER}/unit/{escaped}")).expect("a valid path")
}

/// A host with a bus and a systemd.
pub(super) struct FakeSystemd {
    pub(super) host: PathBuf,
    connection: Connection,
    state: Arc<Mutex<State>>,
}

impl FakeSystemd {
    /// Connects to the bus at `address`, takes systemd's name, and makes the host at `host` look booted with it.
    pub(super) async fn start(host: &Path, address: &str) -> Self {
        fs::create_dir_all(host.join("run/systemd/system")).expect("mkdir");
        let state = Arc::new(Mutex::new(State::default()));
        let connection = Builder::address(address)
            .build()
            .await
            .expect("connecting the fake systemd");
        let manager = Manager(Arc::clone(&state));
        connection
            .object_server()
            .at(MANAGER, manager)
            .await
            .expect("serving the manager");
        let fake = Self {
            host: host.to_owned(),
            connection,
            state,
        };
        fake.appear().await;
        fake
    }

    pub(super) async fn appear(&self) {
        self.connection
            .request_name("org.freedesktop.systemd1")
            .await
            .expect("taking the name");
    }

    pub(super) async fn disappear(&self) {
        self.connection
            .release_name("org.freedesktop.systemd1")
            .await
            .expect("giving the name back");
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn write_file(&self, path: &str, text: &str) {
        let path = self.host.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("writing a unit file");
    }

    /// Loads a unit without a word.
    pub(super) async fn load(&self, name: &str, unit: FakeUnit) {
        let server = self.connection.object_server();
        server
            .at(path_of(name), UnitObject(name.to_owned(), unit.clone()))
            .await
            .expect("serving");
        server
            .at(path_of(name), ServiceObject(unit.clone()))
            .await
            .expect("serving");
        self.state().units.insert(name.to_owned(), unit);
    }

    pub(super) async fn unload(&self, name: &str) {
        self.state().units.remove(name);
        let server = self.connection.object_server();
        server
            .remove::<UnitObject, _>(path_of(name))
            .await
            .expect("removing");
        server
            .remove::<ServiceObject, _>(path_of(name))
            .await
            .expect("removing");
    }

    fn emitter(&self) -> SignalEmitter<'_> {
        SignalEmitter::new(&self.connection, MANAGER).expect("an emitter")
    }

    pub(super) async fn say_new(&self, name: &str) {
        Manager::unit_new(&self.emitter(), name, path_of(name))
            .await
            .expect("signal");
    }

    pub(super) async fn say_removed(&self, name: &str) {
        Manager::unit_removed(&self.emitter(), name, path_of(name))
            .await
            .expect("signal");
    }

    pub(super) async fn say_reloading(&self, active: bool) {
        Manager::reloading(&self.emitter(), active).await.expect("signal");
    }
}
