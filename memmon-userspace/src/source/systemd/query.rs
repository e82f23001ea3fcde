//! Questions to systemd about units.

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use zbus::Connection;
use zbus::OwnedObjectPath;
use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::proxy::CacheProperties;
use zbus_systemd::systemd1::{ManagerProxy, UnitProxy};

use super::UnitInfo;
use crate::source::unit_file::Declaration;

/// Types of units that are asked about, with their D-Bus interfaces. Sockets, mounts and swaps have cgroups only
/// for their helper processes, and there may be thousands: the name from the cgroup tree is enough.
const TYPES: [(&str, &str); 3] = [
    (".service", "org.freedesktop.systemd1.Service"),
    (".scope", "org.freedesktop.systemd1.Scope"),
    (".slice", "org.freedesktop.systemd1.Slice"),
];
/// States in which a unit may have a cgroup.
const STATES: [&str; 4] = ["active", "reloading", "activating", "deactivating"];
/// Units asked about at a time, so that PID 1 never has a long queue of our questions.
const CONCURRENT: usize = 8;

/// The D-Bus interface of the unit's type; `None` if units of this type are not followed.
pub(super) fn interface_of(unit: &str) -> Option<&'static str> {
    TYPES
        .iter()
        .find(|(suffix, _)| unit.ends_with(suffix))
        .map(|(_, interface)| *interface)
}

/// All active units of the followed types.
pub(super) async fn all(manager: &ManagerProxy<'_>, host: &Path) -> zbus::Result<Vec<UnitInfo>> {
    let states = STATES.map(str::to_owned).to_vec();
    let patterns = TYPES.map(|(suffix, _)| format!("*{suffix}")).to_vec();
    let units = manager.list_units_by_patterns(states, patterns).await?;
    let connection = manager.inner().connection();
    stream::iter(units)
        .map(|unit| async move { one(connection, &unit.0, unit.6, host).await })
        .buffer_unordered(CONCURRENT)
        .try_filter_map(|unit| async move { Ok(unit) })
        .try_collect()
        .await
}

/// The unit called `name`; `None` if it is not loaded.
///
/// Never by its object path alone: asking for that of an unloaded unit makes systemd load it, announce it, and
/// unload it again.
pub(super) async fn by_name(
    manager: &ManagerProxy<'_>,
    name: &str,
    host: &Path,
) -> zbus::Result<Option<UnitInfo>> {
    match manager.get_unit(name.to_owned()).await {
        Ok(path) => one(manager.inner().connection(), name, path, host).await,
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Asks about one unit; `None` if it went away meanwhile.
async fn one(
    connection: &Connection,
    name: &str,
    path: OwnedObjectPath,
    host: &Path,
) -> zbus::Result<Option<UnitInfo>> {
    match properties(connection, name, path).await {
        Ok((mut info, files)) => {
            let host = host.to_owned();
            // Reading a file can wait for a disk, and on a host that swaps it will.
            let declaration = tokio::task::spawn_blocking(move || declaration(&host, &files)).await;
            let declaration =
                declaration.map_err(|e| zbus::Error::Failure(format!("reading unit files: {e}")))?;
            info.declared = declaration.priority;
            info.problems = declaration.problems;
            Ok(Some(info))
        }
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

async fn properties(
    connection: &Connection,
    name: &str,
    path: OwnedObjectPath,
) -> zbus::Result<(UnitInfo, Vec<PathBuf>)> {
    // Without caching: the cache would fetch all properties, and systemd reads cgroup files for some of them.
    let unit = UnitProxy::builder(connection)
        .path(&path)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let specific = PropertiesProxy::builder(connection)
        .destination("org.freedesktop.systemd1")
        .path(&path)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let id = unit.id().await?;
    let names = unit.names().await?;
    let fragment = unit.fragment_path().await?;
    let drop_ins = unit.drop_in_paths().await?;
    let mut info = UnitInfo {
        name: id,
        ..UnitInfo::default()
    };
    if let Some(interface) = interface_of(name) {
        let interface = InterfaceName::try_from(interface)?;
        let group: String = specific
            .get(interface.clone(), "ControlGroup")
            .await?
            .try_into()?;
        // The root slice's cgroup is "/", that of a unit without one is "".
        info.control_group = (!group.is_empty()).then_some(group);
        info.delegated = specific.get(interface, "Delegate").await?.try_into()?;
    }
    info.aliases = names.into_iter().filter(|other| *other != info.name).collect();
    info.aliases.sort();
    let files = [fragment]
        .into_iter()
        .chain(drop_ins)
        .filter(|file| !file.is_empty())
        .map(PathBuf::from);
    Ok((info, files.collect()))
}

fn declaration(host: &Path, files: &[PathBuf]) -> Declaration {
    let mut declaration = Declaration::default();
    for file in files {
        // `join` with an absolute path would drop `host`.
        match fs::read(host.join(file.strip_prefix("/").unwrap_or(file))) {
            Ok(text) => declaration.read(&file.to_string_lossy(), &String::from_utf8_lossy(&text)),
            // Deleted since systemd read it, or a generator's that a reload is replacing just now.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => declaration
                .problems
                .push(format!("reading {}: {e}", file.display())),
        }
    }
    declaration
}

/// Whether the answer says that the unit is not, or no longer, there.
fn is_gone(error: &zbus::Error) -> bool {
    let gone = [
        "org.freedesktop.systemd1.NoSuchUnit",
        "org.freedesktop.DBus.Error.UnknownObject",
    ];
    match error {
        zbus::Error::MethodError(name, _, _) => gone.contains(&name.as_str()),
        zbus::Error::FDO(error) => match &**error {
            zbus::fdo::Error::ZBus(inner) => is_gone(inner),
            other => matches!(other, zbus::fdo::Error::UnknownObject(_)),
        },
        _ => false,
    }
}
