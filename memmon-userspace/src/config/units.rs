//! `[units]`: which unit has which priority.

use std::collections::BTreeMap;

use super::{Pattern, Priority};

/// Units that memmon never acts upon, whatever the configuration says: a limit on one of them can stop
/// the host, the log, or memmon. Patterns, as in `[units]`.
///
/// The two slices are in the list because a limit on a slice is a limit on everything in it. If the agent
/// runs in a unit of another name, it adds that one.
pub const NEVER_ACTED_UPON: &[&str] = &[
    "init.scope",
    "memmon.service",
    "dbus.service",
    "dbus-broker.service",
    "systemd-journald.service",
    "systemd-journald@*.service",
    "systemd-udevd.service",
    "systemd-logind.service",
    "-.slice",
    "system.slice",
];

/// Unit types whose units have a cgroup (systemd.unit(5), and `UNIT_HAS_CGROUP_CONTEXT` in systemd's unit.h).
const TYPES_WITH_CGROUP: &[&str] = &["service", "scope", "slice", "socket", "mount", "swap"];
/// `UNIT_NAME_MAX` of systemd's unit-name.h, without the NUL.
const NAME_MAX: usize = 255;

/// The patterns of `[units]` and their priorities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitTable {
    exact: BTreeMap<String, Priority>,
    /// Most specific first.
    globs: Vec<(Pattern, Priority)>,
}

impl UnitTable {
    pub(super) fn new(entries: impl IntoIterator<Item = (Pattern, Priority)>) -> Self {
        let mut table = Self::default();
        for (pattern, priority) in entries {
            if pattern.is_exact() {
                table.exact.insert(pattern.as_str().to_owned(), priority);
            } else {
                table.globs.push((pattern, priority));
            }
        }
        // The text decides last, so that the table does not depend on the order of the entries; it never
        // decides a priority, since the priority has been compared before it.
        table.globs.sort_by(|(a, a_priority), (b, b_priority)| {
            (b.cmp_specificity(a))
                .then_with(|| b_priority.cmp(a_priority))
                .then_with(|| a.as_str().cmp(b.as_str()))
        });
        table
    }

    /// The pattern that decides about `unit`, and the priority it gives; `None` if none matches.
    pub fn lookup(&self, unit: &str) -> Option<(&str, Priority)> {
        if let Some((name, priority)) = self.exact.get_key_value(unit) {
            return Some((name, *priority));
        }
        let (pattern, priority) = self.globs.iter().find(|(pattern, _)| pattern.matches(unit))?;
        Some((pattern.as_str(), *priority))
    }

    /// All entries: exact names first, then patterns, the more specific ones before the others.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Priority)> {
        let exact = self
            .exact
            .iter()
            .map(|(name, priority)| (name.as_str(), *priority));
        exact.chain(
            self.globs
                .iter()
                .map(|(pattern, priority)| (pattern.as_str(), *priority)),
        )
    }
}

/// Whether `unit` is on [`NEVER_ACTED_UPON`].
pub(super) fn is_protected(unit: &str) -> bool {
    NEVER_ACTED_UPON
        .iter()
        .any(|text| Pattern::new(text).is_ok_and(|pattern| pattern.matches(unit)))
}

/// Checks that some unit with a cgroup can have a name that `pattern` matches; else what is wrong with it.
pub(super) fn check_names_a_unit(pattern: &Pattern) -> Result<(), String> {
    let text = pattern.as_str();
    if let Some(bad) = pattern
        .characters()
        .find(|c| !c.is_ascii_alphanumeric() && !":_.\\@-".contains(*c))
    {
        return Err(format!(
            "has {bad:?}, which no unit name contains: `systemd-escape` turns any text into a unit name"
        ));
    }
    if pattern.is_exact() && text.len() > NAME_MAX {
        return Err(format!(
            "is {} characters long: unit names have at most {NAME_MAX}",
            text.len()
        ));
    }
    let types = TYPES_WITH_CGROUP.join(", .");
    let tail = pattern.literal_tail();
    match tail.rsplit_once('.') {
        Some((name, kind)) => {
            if !TYPES_WITH_CGROUP.contains(&kind) {
                return Err(format!(
                    "ends in .{kind}; units that have memory of their own end in .{types}"
                ));
            }
            if name.ends_with('@') {
                return Err(format!(
                    "is a template, which never runs itself: write \"{name}*.{kind}\" for its instances"
                ));
            }
            if pattern.is_exact() && name.is_empty() {
                return Err("has nothing before the dot: write the unit's whole name".to_owned());
            }
            Ok(())
        }
        None if pattern.is_exact() => Err(format!(
            "is not a unit name: it must end in .{types}; did you mean \"{text}.service\"?"
        )),
        None if TYPES_WITH_CGROUP.iter().any(|kind| kind.ends_with(&tail)) => Ok(()),
        None => Err(format!(
            "matches no unit: unit names end in .{types}, not in \"{tail}\""
        )),
    }
}
