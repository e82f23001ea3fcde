//! The systemd side of leases: a task that owns the D-Bus connection, takes one job at a time and reports.
//!
//! It decides nothing. Connections are made when needed and dropped when they fail; the executor tries
//! again later, since only it knows whether a job is still wanted.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use zbus::connection::Builder;
use zbus::names::InterfaceName;
use zbus::{OwnedVariant, Variant};
use zbus_systemd::systemd1::{ManagerProxy, UnitProxy};

use super::fault::{self, Point};
pub use super::systemd_jobs::{Job, Report, Restoration, SystemdError};
use super::systemd_plan::{DropIn, DropInStep, UnitFacts};
use super::systemd_props::{
    MEMORY_SETTINGS, drop_in_path, from_property, interface, is_unit_name, to_property,
};
use crate::decode::Limit;
use crate::policy::{LeaseId, Property};

/// A daemon-reload of a host with thousands of units takes seconds, under memory pressure longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// Where PID 1 listens itself, for root, also when there is no bus.
const PRIVATE: &str = "unix:path=/run/systemd/private";

/// Which bus systemd is on.
#[derive(Clone, Debug)]
pub enum Bus {
    /// The system bus.
    System,
    /// The bus at a D-Bus address: for tests.
    Address(String),
}

/// The task's state: a connection, if there is one.
#[derive(Debug)]
pub struct Systemd {
    bus: Bus,
    root: PathBuf,
    connection: Option<zbus::Connection>,
}

/// Takes jobs until the channel closes. `root` is `/`, in tests a directory that stands for it.
pub async fn work(bus: Bus, root: PathBuf, mut jobs: mpsc::Receiver<Job>, reports: mpsc::Sender<Report>) {
    let mut systemd = Systemd {
        bus,
        root,
        connection: None,
    };
    while let Some(job) = jobs.recv().await {
        for report in systemd.run(job).await {
            if reports.send(report).await.is_err() {
                return;
            }
        }
    }
}

async fn build(builder: Builder<'_>) -> zbus::Result<zbus::Connection> {
    builder.method_timeout(CALL_TIMEOUT).build().await
}

impl Systemd {
    async fn run(&mut self, job: Job) -> Vec<Report> {
        let reports = match job {
            Job::Inspect { lease, unit, apply } => {
                if apply {
                    self.apply(&unit).await;
                }
                vec![Report::Inspected {
                    lease,
                    facts: self.inspect(&unit).await,
                }]
            }
            Job::Set { lease, unit, values } => vec![Report::Set {
                lease,
                result: self.set(&unit, &values).await,
            }],
            Job::Restore(restorations) => self.restore(restorations).await,
        };
        if reports.iter().any(Report::is_unreachable) {
            self.connection = None;
        }
        reports
    }

    async fn connection(&mut self) -> Result<zbus::Connection, SystemdError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let failed = |error| SystemdError::Unreachable {
            operation: "connect to",
            object: "the bus".into(),
            reason: zbus::Error::to_string(&error),
        };
        let connection = match &self.bus {
            Bus::System => match build(Builder::system()).await {
                Ok(connection) => connection,
                // As systemctl does it as root. Its error would only hide that the bus is gone.
                Err(error) => build(Builder::address(PRIVATE).p2p())
                    .await
                    .map_err(|_| failed(error))?,
            },
            Bus::Address(address) => build(Builder::address(address.as_str())).await.map_err(failed)?,
        };
        Ok(self.connection.insert(connection).clone())
    }

    async fn manager(&mut self) -> Result<ManagerProxy<'static>, SystemdError> {
        let connection = self.connection().await?;
        ManagerProxy::new(&connection)
            .await
            .map_err(|error| SystemdError::call("connect to", "the manager", error))
    }

    async fn inspect(&mut self, unit: &str) -> Result<UnitFacts, SystemdError> {
        let manager = self.manager().await?;
        // LoadUnit, not GetUnit: a unit that stopped and was forgotten can still have a drop-in of ours.
        let path = manager
            .load_unit(unit.to_owned())
            .await
            .map_err(|e| SystemdError::call("LoadUnit", unit, e))?;
        let connection = self.connection().await?;
        let error = |operation| move |error: zbus::Error| SystemdError::call(operation, unit, error);
        let proxy = UnitProxy::builder(&connection)
            .path(path.clone())
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(error("address"))?;
        let mut facts = UnitFacts {
            id: proxy.id().await.map_err(error("read Id of"))?,
            loaded: proxy.load_state().await.map_err(error("read LoadState of"))? == "loaded",
            running: is_running(&proxy.active_state().await.map_err(error("read ActiveState of"))?),
            transient: proxy.transient().await.map_err(error("read Transient of"))?,
            drop_in_paths: proxy
                .drop_in_paths()
                .await
                .map_err(error("read DropInPaths of"))?,
            ..UnitFacts::default()
        };
        if let Some(interface) = interface(&facts.id) {
            let properties = zbus::fdo::PropertiesProxy::builder(&connection)
                .destination("org.freedesktop.systemd1")
                .path(path)
                .build()
                .await
                .map_err(error("address"))?;
            let all = properties
                .get_all(InterfaceName::from_static_str_unchecked(interface))
                .await
                .map_err(|fdo| SystemdError::call("read the properties of", unit, fdo.into()))?;
            memory(&mut facts, &all);
        }
        for property in [Property::MemorySwapMax, Property::MemoryHigh, Property::MemoryLow] {
            let path = drop_in_path(&facts.id, property, facts.transient);
            let content = if is_unit_name(&facts.id) {
                self.read(&path)?
            } else {
                None
            };
            facts.drop_ins.insert(property, DropIn { path, content });
        }
        Ok(facts)
    }

    async fn set(&mut self, unit: &str, values: &[(Property, Limit)]) -> Result<(), SystemdError> {
        let manager = self.manager().await?;
        let mut properties = Vec::with_capacity(values.len());
        for (property, limit) in values {
            properties.push((
                property.as_str().to_owned(),
                OwnedVariant::from(to_property(*limit)),
            ));
        }
        fault::at(Point::BeforeSystemd);
        let set = manager
            .set_unit_properties(unit.to_owned(), true, properties)
            .await
            .map_err(|error| SystemdError::call("SetUnitProperties", unit, error));
        fault::at(Point::AfterSystemd);
        set
    }

    /// Has systemd write the unit's limits to its cgroup now.
    ///
    /// systemd 252 does so for every unit before it answers `Reload`. 257 only marks them, and writes when something
    /// else has it look at the slice, like the start of another unit: a later value in the file would be lost then.
    /// Setting no markers changes nothing, but like setting any property it ends with the limits being written.
    async fn apply(&mut self, unit: &str) {
        let applied = async {
            let refused = |error| SystemdError::call("SetUnitProperties", unit, error);
            let nothing = Variant::from(Vec::<String>::new())
                .try_into_owned()
                .map_err(refused)?;
            self.manager()
                .await?
                .set_unit_properties(unit.to_owned(), true, vec![("Markers".to_owned(), nothing)])
                .await
                .map_err(refused)
        };
        if let Err(error) = applied.await {
            // A unit that has stopped, or a systemd before 248, which does not need it.
            tracing::debug!(unit, %error, "systemd was not made to write the unit's limits");
        }
    }

    async fn restore(&mut self, restorations: Vec<Restoration>) -> Vec<Report> {
        let mut failed: HashMap<LeaseId, SystemdError> = HashMap::new();
        // Without systemd the files stay as they are: removing them and then not reloading would leave a
        // property whose origin nobody could find.
        let manager = match self.manager().await {
            Ok(manager) => Some(manager),
            Err(error) => {
                let reason = error.to_string();
                failed.extend(restorations.iter().map(|each| {
                    (
                        each.lease,
                        SystemdError::Unreachable {
                            operation: "restore",
                            object: each.unit.clone(),
                            reason: reason.clone(),
                        },
                    )
                }));
                None
            }
        };
        if let Some(manager) = manager {
            fault::at(Point::BeforeDropIn);
            for each in &restorations {
                if let Err(error) = self.put_right(&each.drop_in) {
                    failed.insert(each.lease, error);
                }
            }
            fault::at(Point::AfterDropIn);
            let reload: Vec<&Restoration> = restorations.iter().filter(|each| each.reload).collect();
            if !reload.is_empty()
                && let Err(error) = manager.reload().await
            {
                let each_fails = |each: &&Restoration| {
                    (
                        each.lease,
                        SystemdError::call("Reload", &each.unit, error.clone()),
                    )
                };
                failed.extend(reload.iter().map(each_fails));
            }
        }
        fault::at(Point::AfterReload);
        // All of them before the first answer: the last may have systemd write the limits of the others' units.
        for each in restorations.iter().filter(|each| each.apply) {
            if !failed.contains_key(&each.lease) {
                self.apply(&each.unit).await;
            }
        }
        let mut reports = Vec::with_capacity(restorations.len());
        for each in restorations {
            let facts = match failed.remove(&each.lease) {
                Some(error) => Err(error),
                None => self.inspect(&each.unit).await,
            };
            reports.push(Report::Restored {
                lease: each.lease,
                facts,
            });
        }
        reports
    }

    fn put_right(&self, step: &DropInStep) -> Result<(), SystemdError> {
        match step {
            DropInStep::Leave => Ok(()),
            DropInStep::Remove { path, seen } => {
                if self.read(path)?.as_ref() != Some(seen) {
                    return Ok(());
                }
                let file = self.at(path);
                std::fs::remove_file(&file).map_err(|source| SystemdError::DropIn {
                    operation: "remove",
                    path: file.clone(),
                    source,
                })?;
                // systemd made the directory for the drop-in; it stays if anything else is in it.
                let _ = file.parent().map(std::fs::remove_dir);
                Ok(())
            }
            DropInStep::Replace { path, seen, content } => {
                if self.read(path)?.as_ref() != Some(seen) {
                    return Ok(());
                }
                let file = self.at(path);
                // systemd reads *.conf only, so it never sees the half-written one.
                let temporary = file.with_extension("conf.memmon-new");
                std::fs::write(&temporary, content)
                    .and_then(|()| std::fs::rename(&temporary, &file))
                    .map_err(|source| SystemdError::DropIn {
                        operation: "put back",
                        path: file,
                        source,
                    })
            }
        }
    }

    fn read(&self, path: &str) -> Result<Option<String>, SystemdError> {
        let file = self.at(path);
        match std::fs::read_to_string(&file) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SystemdError::DropIn {
                operation: "read",
                path: file,
                source,
            }),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root
            .join(Path::new(path).strip_prefix("/").unwrap_or(Path::new(path)))
    }
}

fn is_running(active_state: &str) -> bool {
    !matches!(active_state, "inactive" | "failed")
}

fn memory(facts: &mut UnitFacts, all: &HashMap<String, OwnedVariant>) {
    let number = |name: &str| match all.get(name).map(|value| &**value) {
        Some(Variant::U64(number)) => Some(from_property(*number)),
        _ => None,
    };
    facts.limits = MEMORY_SETTINGS
        .iter()
        .filter_map(|(name, _)| Some(((*name).to_owned(), number(name)?)))
        .collect::<BTreeMap<_, _>>();
    facts.memory_limit = number("MemoryLimit");
    let mut switch = |name: &str, on: Option<bool>| {
        facts
            .limits
            .extend(on.map(|on| (name.to_owned(), Limit::Bytes(on.into()))));
    };
    switch(
        "OOMPolicy",
        match all.get("OOMPolicy").map(|value| &**value) {
            Some(Variant::Str(policy)) => Some(*policy == "kill"),
            _ => None,
        },
    );
    switch(
        "MemoryZSwapWriteback",
        match all.get("MemoryZSwapWriteback").map(|value| &**value) {
            Some(Variant::Bool(on)) => Some(*on),
            _ => None,
        },
    );
    if let Some(Variant::Str(path)) = all.get("ControlGroup").map(|value| &**value) {
        facts.control_group = path.to_string();
    }
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
