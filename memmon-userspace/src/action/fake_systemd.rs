//! A private message bus with a systemd on it that does to limits what the real one does, for tests.
//!
//! Modelled after systemd 252 and 257: `SetUnitProperties` writes a drop-in and applies *all* memory settings
//! of the unit to its cgroup; `Reload` reads fragments and drop-ins anew, sorted by file name, and of two with
//! the same name only the one in the first directory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use zbus::{OwnedObjectPath, OwnedVariant, fdo};

use super::systemd_props::MEMORY_SETTINGS;
pub(super) use crate::testing::bus::Bus;

const MANAGER: &str = "/org/freedesktop/systemd1";
/// Where drop-ins are looked for, first directory first.
const DIRECTORIES: [&str; 5] = [
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "etc/systemd/system",
    "run/systemd/system",
];

/// What the fake knows of a unit.
#[derive(Clone, Debug)]
pub(super) struct FakeUnit {
    /// Settings of the unit file.
    pub(super) fragment: BTreeMap<String, u64>,
    /// Settings in memory.
    pub(super) current: BTreeMap<String, u64>,
    pub(super) drop_ins: Vec<String>,
    pub(super) transient: bool,
    pub(super) active: bool,
    pub(super) control_group: String,
    pub(super) memory_limit: u64,
}

/// Settings by default.
fn defaults() -> BTreeMap<String, u64> {
    let default = |name: &str| {
        if matches!(name, "MemoryMin" | "MemoryLow") {
            0
        } else {
            u64::MAX
        }
    };
    MEMORY_SETTINGS
        .iter()
        .map(|(name, _)| ((*name).to_owned(), default(name)))
        .collect()
}

impl FakeUnit {
    pub(super) fn new(control_group: &str) -> Self {
        Self {
            fragment: BTreeMap::new(),
            current: defaults(),
            drop_ins: Vec::new(),
            transient: false,
            active: true,
            control_group: control_group.into(),
            memory_limit: u64::MAX,
        }
    }
}

/// The fake's state, shared between its objects and the test.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) units: HashMap<String, FakeUnit>,
    /// Method calls that change something, in order.
    pub(super) calls: Vec<String>,
    /// As 257, which after a reload writes a unit's limits only when something has it look at that unit.
    pub(super) late: bool,
    stale: BTreeSet<String>,
    /// Answer these methods with an error.
    pub(super) refuse: Vec<&'static str>,
    root: PathBuf,
}

impl State {
    /// Reads fragments and drop-ins anew and applies them.
    pub(super) fn reload(&mut self) {
        let names: Vec<String> = self.units.keys().cloned().collect();
        for name in names {
            let mut settings = defaults();
            settings.extend(self.units[&name].fragment.clone());
            // By file name; of the same name the first directory wins.
            let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
            for directory in DIRECTORIES {
                let dir = self.root.join(directory).join(format!("{name}.d"));
                for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                    let file = entry.file_name().into_string().unwrap();
                    if file.ends_with(".conf") {
                        files.entry(file).or_insert(entry.path());
                    }
                }
            }
            for path in files.values() {
                for line in fs::read_to_string(path).unwrap().lines() {
                    if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                        let value = if value == "infinity" {
                            u64::MAX
                        } else {
                            value.parse().unwrap()
                        };
                        settings.insert(key.to_owned(), value);
                    }
                }
            }
            let root = self.root.clone();
            let unit = self.units.get_mut(&name).unwrap();
            unit.drop_ins = files
                .values()
                .map(|path| format!("/{}", path.strip_prefix(&root).unwrap().display()))
                .collect();
            unit.current = settings;
            if self.late {
                self.stale.insert(name);
            } else {
                self.apply(&name);
            }
        }
    }

    /// Something has systemd look at all units, like the start of one more.
    pub(super) fn look(&mut self) {
        for name in std::mem::take(&mut self.stale) {
            self.apply(&name);
        }
    }

    /// `SetUnitProperties(runtime=true)`, also for what an operator does with `systemctl set-property --runtime`.
    pub(super) fn set(&mut self, name: &str, values: &[(String, u64)]) {
        let unit = self.units.get_mut(name).unwrap();
        let base = if unit.transient {
            DIRECTORIES[2]
        } else {
            DIRECTORIES[1]
        };
        for (property, value) in values {
            unit.current.insert(property.clone(), *value);
            write_drop_in(
                &self.root,
                base,
                name,
                &format!("50-{property}.conf"),
                property,
                *value,
            );
        }
        self.stale.remove(name);
        self.apply(name);
    }

    /// An operator's drop-in; in force after a reload.
    pub(super) fn drop_in(&self, base: &str, name: &str, file: &str, property: &str, value: u64) {
        write_drop_in(&self.root, base, name, file, property, value);
    }

    /// Writes all memory settings of the unit to its cgroup.
    fn apply(&self, name: &str) {
        let unit = &self.units[name];
        let dir = self
            .root
            .join("cgroup")
            .join(unit.control_group.trim_start_matches('/'));
        for (property, file) in MEMORY_SETTINGS {
            let path = dir.join(file);
            if path.exists() {
                let value = unit.current[property];
                let text = if value == u64::MAX {
                    "max".into()
                } else {
                    (value - value % 4096).to_string()
                };
                fs::write(path, format!("{text}\n")).unwrap();
            }
        }
    }
}

fn write_drop_in(root: &Path, base: &str, name: &str, file: &str, property: &str, value: u64) {
    let dir = root.join(base).join(format!("{name}.d"));
    fs::create_dir_all(&dir).unwrap();
    let value = if value == u64::MAX {
        "infinity".into()
    } else {
        value.to_string()
    };
    let text = format!(
        "# This is a drop-in unit file extension, created via \"systemctl set-property\"\n\
         # or an equivalent operation. Do not edit.\n[Service]\n{property}={value}\n"
    );
    fs::write(dir.join(file), text).unwrap();
}

/// A fake systemd on a bus.
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    _connection: zbus::Connection,
}

impl Fake {
    /// Serves `units` on the bus at `address`; files are below `root`.
    pub(super) async fn start(address: &str, root: &Path, units: &[(&str, FakeUnit)]) -> Self {
        let state = Arc::new(Mutex::new(State {
            root: root.to_owned(),
            ..State::default()
        }));
        let mut builder = zbus::connection::Builder::address(address)
            .serve_at(
                MANAGER,
                Manager {
                    state: Arc::clone(&state),
                },
            )
            .name("org.freedesktop.systemd1");
        for (name, unit) in units {
            state
                .lock()
                .unwrap()
                .units
                .insert((*name).to_owned(), unit.clone());
            let object = || Unit {
                state: Arc::clone(&state),
                name: (*name).to_owned(),
            };
            builder = builder.serve_at(path(name), object());
            builder = builder.serve_at(path(name), Service(object()));
        }
        state.lock().unwrap().reload();
        Self {
            state,
            _connection: builder.build().await.unwrap(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn path(unit: &str) -> String {
    let escaped: String = unit
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("_{byte:02x}")
            }
        })
        .collect();
    format!("{MANAGER}/unit/{escaped}")
}

struct Manager {
    state: Arc<Mutex<State>>,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn load_unit(&self, name: String) -> fdo::Result<OwnedObjectPath> {
        if !self.state.lock().unwrap().units.contains_key(&name) {
            return Err(fdo::Error::Failed(format!("the fake has no unit {name}")));
        }
        Ok(OwnedObjectPath::try_from(path(&name)).unwrap())
    }

    fn set_unit_properties(
        &self,
        name: String,
        runtime: bool,
        properties: Vec<(String, OwnedVariant)>,
    ) -> fdo::Result<()> {
        assert!(runtime, "a persistent property would survive the boot");
        let mut state = self.state.lock().unwrap();
        if properties.iter().any(|(property, _)| property == "Markers") {
            state.look();
            return Ok(());
        }
        let values: Vec<(String, u64)> = properties
            .into_iter()
            .map(|(property, value)| (property, u64::try_from(value).unwrap()))
            .collect();
        state.calls.push(format!("set {name} {values:?}"));
        if state.refuse.contains(&"SetUnitProperties") {
            return Err(fdo::Error::AccessDenied("told to refuse".into()));
        }
        state.set(&name, &values);
        Ok(())
    }

    fn reload(&self) -> fdo::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.calls.push("reload".into());
        if state.refuse.contains(&"Reload") {
            return Err(fdo::Error::Failed("told to refuse".into()));
        }
        state.reload();
        Ok(())
    }
}

struct Unit {
    state: Arc<Mutex<State>>,
    name: String,
}

impl Unit {
    fn get(&self) -> FakeUnit {
        self.state.lock().unwrap().units[&self.name].clone()
    }

    fn setting(&self, name: &str) -> u64 {
        self.get().current[name]
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn id(&self) -> String {
        self.name.clone()
    }

    #[zbus(property)]
    fn load_state(&self) -> String {
        "loaded".into()
    }

    #[zbus(property)]
    fn active_state(&self) -> String {
        if self.get().active {
            "active".into()
        } else {
            "inactive".into()
        }
    }

    #[zbus(property)]
    fn transient(&self) -> bool {
        self.get().transient
    }

    #[zbus(property)]
    fn drop_in_paths(&self) -> Vec<String> {
        self.get().drop_ins
    }
}

struct Service(Unit);

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn control_group(&self) -> String {
        self.0.get().control_group
    }

    #[zbus(property)]
    fn memory_min(&self) -> u64 {
        self.0.setting("MemoryMin")
    }

    #[zbus(property)]
    fn memory_low(&self) -> u64 {
        self.0.setting("MemoryLow")
    }

    #[zbus(property)]
    fn memory_high(&self) -> u64 {
        self.0.setting("MemoryHigh")
    }

    #[zbus(property)]
    fn memory_max(&self) -> u64 {
        self.0.setting("MemoryMax")
    }

    #[zbus(property)]
    fn memory_swap_max(&self) -> u64 {
        self.0.setting("MemorySwapMax")
    }

    #[zbus(property, name = "OOMPolicy")]
    fn oom_policy(&self) -> String {
        "stop".into()
    }

    #[zbus(property)]
    fn memory_limit(&self) -> u64 {
        self.0.get().memory_limit
    }
}
