//! A stage imports only stages to its left.

use super::tokens::UsedPath;

/// The stages from left to right. Those of one group may import each other.
const ORDER: &[&[&str]] = &[
    &["config", "kernel", "source"],
    &["decode"],
    &["attribute"],
    &["policy"],
    &["action"],
    &["record"],
    &["export"],
    // These wire the stages.
    &["runtime", "cli"],
];

fn rank(stage: &str) -> Option<usize> {
    ORDER.iter().position(|group| group.contains(&stage))
}

/// What is wrong with `path` in `module`, if anything.
pub(super) fn check(module: &[String], path: &UsedPath) -> Option<String> {
    let own = module.first()?;
    let Some(own_rank) = rank(own) else {
        return Some(format!(
            "`{own}` is no stage: add it to {} with its place in the order",
            file!()
        ));
    };
    let target = resolve(module, &path.segments)?;
    match target.first().map(String::as_str) {
        None | Some("*") => Some(format!("`{path}` imports the whole crate: name what is used")),
        Some(stage) if rank(stage).is_some_and(|rank| rank > own_rank) => Some(format!(
            "`{own}` uses `{path}`, and `{stage}` is to its right: a stage imports only stages to its left ({})",
            order()
        )),
        Some(_) => None,
    }
}

fn order() -> String {
    ORDER
        .iter()
        .map(|group| group.join(", "))
        .collect::<Vec<_>>()
        .join(" -> ")
}

/// The path from the crate's root that `segments` mean in `module`; `None` if they mean another crate or a
/// name in scope.
fn resolve(module: &[String], segments: &[String]) -> Option<Vec<String>> {
    let mut segments = segments.iter().peekable();
    let mut target = match segments.next()?.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => parent(module),
        _ => return None,
    };
    while segments.next_if(|segment| *segment == "super").is_some() {
        target = parent(&target);
    }
    target.extend(segments.cloned());
    Some(target)
}

fn parent(module: &[String]) -> Vec<String> {
    module
        .split_last()
        .map_or_else(Vec::new, |(_, parent)| parent.to_vec())
}
