//! Pure code: no files, no runtime, no bus, no kernel, no clock, no randomness. Time is an argument.

use super::tokens::UsedPath;

/// Modules (with everything below them) that are pure.
const PURE: &[&[&str]] = &[
    &["decode"],
    &["policy"],
    &["kernel", "plan"],
    &["action", "systemd_props"],
];

/// Beginnings of paths that pure code does not use, and why.
const IMPURE: &[(&[&str], &str)] = &[
    (&["std", "fs"], "touches files"),
    (&["std", "env"], "reads the environment"),
    (&["std", "net"], "talks to the network"),
    (&["std", "os"], "touches files"),
    (&["std", "process"], "touches processes"),
    (&["std", "thread"], "depends on the scheduler"),
    (&["std", "io", "stdin"], "reads a file"),
    (&["std", "io", "stdout"], "writes a file"),
    (&["std", "io", "stderr"], "writes a file"),
    (
        &["std", "collections", "HashMap"],
        "is iterated in random order: use BTreeMap",
    ),
    (
        &["std", "collections", "HashSet"],
        "is iterated in random order: use BTreeSet",
    ),
    (&["std", "hash", "RandomState"], "is random"),
    (&["aya"], "talks to the kernel"),
    (&["aya_log"], "talks to the kernel"),
    (&["rustix"], "talks to the kernel"),
    (&["tokio"], "needs a runtime"),
    (&["zbus"], "talks to the bus"),
    (&["zbus_systemd"], "talks to the bus"),
    (&["rand"], "is random"),
    (&["fastrand"], "is random"),
    (&["getrandom"], "is random"),
];

/// Ends of paths that read a clock; also as methods.
const CLOCKS: &[&[&str]] = &[&["Instant", "now"], &["SystemTime", "now"], &[".elapsed"]];

/// What is wrong with `path` in `module`, if anything.
pub(super) fn check(module: &[String], path: &UsedPath) -> Option<String> {
    let is_pure = PURE.iter().any(|pure| starts_with(module, pure));
    if !is_pure {
        return None;
    }
    let why = IMPURE
        .iter()
        .find(|(start, _)| starts_with(&path.segments, start))
        .map(|(_, why)| *why)
        .or_else(|| {
            CLOCKS
                .iter()
                .any(|end| ends_with(&path.segments, end))
                .then_some("reads the clock: take the time as an argument")
        })?;
    Some(format!("`{}` is pure, and `{path}` {why}", module.join("/")))
}

fn starts_with(segments: &[String], start: &[&str]) -> bool {
    segments.len() >= start.len() && segments.iter().zip(start).all(|(a, b)| a == b)
}

fn ends_with(segments: &[String], end: &[&str]) -> bool {
    segments.len() >= end.len()
        && segments[segments.len() - end.len()..]
            .iter()
            .zip(end)
            .all(|(a, b)| a == b)
}
