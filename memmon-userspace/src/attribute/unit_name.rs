//! Which unit of the system manager owns a cgroup, told from the cgroup's path alone.
//!
//! The rules are those of systemd's `basic/cgroup-util.c` (`cg_path_get_unit`, `cg_unescape`) and
//! `basic/unit-name.c` (`unit_name_is_valid`). From the root down, components that are slices nest; the
//! first other unit owns everything below it: sub-groups of a delegated service, containers, and all of a
//! user's own manager (`user@1000.service`), whose inner units are not the system manager's.

use std::fmt;

/// Name systemd gives to the root of its tree.
pub const ROOT_SLICE: &str = "-.slice";
/// Longest unit name, `UNIT_NAME_MAX` without the NUL.
const NAME_MAX: usize = 255;

/// Type of the unit that owns a cgroup. Only these types have cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnitKind {
    /// Groups other units; owns pages itself only after a child was removed (from Linux 7.1), or if a
    /// cgroup that systemd did not make sits directly in it.
    Slice,
    /// A service.
    Service,
    /// Processes that systemd did not start: sessions, containers, `init.scope`.
    Scope,
    /// A socket with processes of its own (`ExecStartPre=`).
    Socket,
    /// The mount helper.
    Mount,
    /// The swapon helper.
    Swap,
    /// No unit: a host without systemd, or a top-level cgroup that systemd did not make.
    None,
}

impl UnitKind {
    /// The suffix of the unit's name without the dot; `none` where there is no unit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slice => "slice",
            Self::Service => "service",
            Self::Scope => "scope",
            Self::Socket => "socket",
            Self::Mount => "mount",
            Self::Swap => "swap",
            Self::None => "none",
        }
    }

    /// Whether everything below the unit's cgroup is the unit's: true for all units but slices.
    pub const fn owns_subtree(self) -> bool {
        !matches!(self, Self::Slice | Self::None)
    }

    fn of_suffix(suffix: &str) -> Option<Self> {
        [
            Self::Slice,
            Self::Service,
            Self::Scope,
            Self::Socket,
            Self::Mount,
            Self::Swap,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == suffix)
    }
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The owner of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupOwner<'a> {
    /// Name of the unit, unescaped; the path of the cgroup itself if `kind` is [`UnitKind::None`].
    pub unit: &'a str,
    /// Type of the unit.
    pub kind: UnitKind,
    /// Path of the unit's own cgroup: a prefix of the given path. Limits of the unit live there.
    pub unit_cgroup: &'a str,
}

impl CgroupOwner<'_> {
    /// Whether `path`, of which this is the owner, lies below the unit's own cgroup.
    pub fn is_nested(&self, path: &str) -> bool {
        path.len() > self.unit_cgroup.len()
    }
}

/// The innermost unit of the system manager that owns the cgroup `path`.
///
/// `path` starts at the root of the hierarchy (`/system.slice/a.service`), as the kernel prints it; doubled
/// and trailing slashes are accepted. `/` is [`ROOT_SLICE`].
pub fn owner_of(path: &str) -> CgroupOwner<'_> {
    let path = path.trim_end_matches('/');
    let mut owner = CgroupOwner {
        unit: ROOT_SLICE,
        kind: UnitKind::Slice,
        unit_cgroup: "/",
    };
    let mut slices = 0;
    let mut end = 0;
    for component in path.split('/') {
        end += component.len();
        if !component.is_empty() {
            match unit_of_component(component) {
                Some((unit, kind)) => {
                    owner = CgroupOwner {
                        unit,
                        kind,
                        unit_cgroup: &path[..end],
                    }
                }
                // A directory that systemd did not make. Below a slice it counts there, as in systemd's own
                // search; at the top there is nothing to call it but its path.
                None if slices == 0 => {
                    return CgroupOwner {
                        unit: path,
                        kind: UnitKind::None,
                        unit_cgroup: path,
                    };
                }
                None => return owner,
            }
            if owner.kind != UnitKind::Slice {
                return owner;
            }
            slices += 1;
        }
        end += 1; // the slash
    }
    owner
}

/// The unit whose cgroup directory is called `component`, if it is the name of a unit that can have one.
fn unit_of_component(component: &str) -> Option<(&str, UnitKind)> {
    let name = unescape(component);
    let kind = kind_of_name(name)?;
    Some((name, kind))
}

/// The type of the owner called `unit`, as [`owner_of`] names it: [`UnitKind::None`] for a path.
pub fn kind_of(unit: &str) -> UnitKind {
    kind_of_name(unit).unwrap_or(UnitKind::None)
}

/// Undoes systemd's escaping of cgroup names (`cg_unescape`): one leading underscore.
///
/// systemd puts it in front of names that a kernel file in the same directory could have (`memory.service`
/// beside the controller `memory`), and of those that begin with an underscore or a dot.
pub fn unescape(component: &str) -> &str {
    component.strip_prefix('_').unwrap_or(component)
}

/// The type of the unit called `name`; `None` if this is no valid name of a plain or instantiated unit of a
/// type that has cgroups (`unit_name_is_valid` with `UNIT_NAME_PLAIN | UNIT_NAME_INSTANCE`).
pub fn kind_of_name(name: &str) -> Option<UnitKind> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let kind = UnitKind::of_suffix(suffix)?;
    let valid = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if name.len() > NAME_MAX || stem.is_empty() || !stem.bytes().all(valid) {
        return None;
    }
    let (prefix, instance) = stem.split_once('@').map_or((stem, None), |(p, i)| (p, Some(i)));
    let template = instance == Some("");
    // Slices cannot be instances, and "a-" or "-a" are no places in the tree of slices.
    let slice_ok = kind != UnitKind::Slice || (instance.is_none() && valid_slice(stem));
    (!prefix.is_empty() && !template && slice_ok).then_some(kind)
}

/// `slice_name_is_valid`: dashes separate levels, none of which may be empty; `-` alone is the root.
fn valid_slice(stem: &str) -> bool {
    stem == "-" || stem.split('-').all(|level| !level.is_empty())
}

#[cfg(test)]
#[path = "unit_name_tests.rs"]
mod tests;
