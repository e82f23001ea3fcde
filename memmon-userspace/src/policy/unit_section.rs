//! The memory section of a unit file that fits its priority and what it was seen to use. Pure.

use crate::config::Priority;
use crate::decode::Limit;

use super::never_touched;

/// Limits are rounded up to this, bytes.
const STEP: u64 = 16 << 20;
const LOW: &str = "MemoryLow";

/// What is known of a unit and its surroundings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitFacts {
    /// Name.
    pub unit: String,
    /// What the operator declared it to be; `None`: not configured.
    pub priority: Option<Priority>,
    /// The most memory it was seen to use, bytes; `None`: it was never seen.
    pub peak: Option<u64>,
    /// RAM of the host, bytes.
    pub ram: u64,
    /// Text of its unit file and drop-ins, without memmon's own.
    pub text: String,
    /// systemd knows no unit of this name.
    pub missing: bool,
    /// `MemoryMax`, `MemoryHigh` and `MemoryLow` of the slices above it, the innermost first: name, property, value.
    pub above: Vec<(String, &'static str, Limit)>,
    /// `ManagedOOMSwap` or `ManagedOOMMemoryPressure` is `kill` on it or a slice above it: where.
    pub oomd: Vec<String>,
    /// The old memory monitor's service is enabled or running.
    pub second_writer: Option<String>,
}

/// What should be installed, and what a person should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitSection {
    /// The drop-in's text; `None`: there is nothing to set.
    pub text: Option<String>,
    /// Settings that a running unit takes over only when it is restarted.
    pub needs_restart: Vec<&'static str>,
    /// What does not do what it seems to.
    pub warnings: Vec<String>,
}

/// Derives the section.
pub fn unit_section(facts: &UnitFacts) -> UnitSection {
    let mut section = UnitSection {
        warnings: warnings(facts),
        ..UnitSection::default()
    };
    let Some(priority) = facts.priority.filter(|priority| *priority > Priority::Observe) else {
        return section;
    };
    if let Some(why) = never_touched(&facts.unit, None) {
        section
            .warnings
            .push(format!("{} is never acted upon: {why}", facts.unit));
        return section;
    }
    let settings = settings(facts, priority, &mut section.warnings);
    if let Some((_, wanted)) = settings.iter().find(|(name, _)| *name == LOW) {
        section.warnings.extend(ungranted(facts, wanted));
    }
    if settings.is_empty() {
        return section;
    }
    let peak = facts.peak.map_or_else(
        || "never seen running".to_owned(),
        |peak| format!("seen to use up to {} MiB", peak >> 20),
    );
    let mut text = format!("# Written by memmon config units: priority {priority}, {peak}.\n[Service]\n");
    for (name, value) in &settings {
        text.push_str(&format!("{name}={value}\n"));
        if matches!(*name, "OOMScoreAdjust" | "LimitMEMLOCK") {
            section.needs_restart.push(name);
        }
    }
    section.text = Some(text);
    section
}

/// What a unit is granted counts only as far as every slice above it is granted as much.
fn ungranted(facts: &UnitFacts, wanted: &str) -> Option<String> {
    let wanted: u64 = wanted.parse().ok()?;
    let slices: Vec<&str> = facts
        .above
        .iter()
        .filter(|(_, property, low)| *property == LOW && low.bytes().is_some_and(|low| low < wanted))
        .map(|(slice, ..)| slice.as_str())
        .collect();
    (!slices.is_empty()).then(|| {
        format!(
            "MemoryLow= protects only as far as {} {} granted as much, which memmon does by itself only while RAM is \
             short: systemctl set-property {} MemoryLow={wanted}",
            slices.join(" and "),
            if slices.len() == 1 { "is" } else { "are" },
            slices[0]
        )
    })
}

fn settings(
    facts: &UnitFacts,
    priority: Priority,
    warnings: &mut Vec<String>,
) -> Vec<(&'static str, String)> {
    let up = |bytes: u64| bytes.div_ceil(STEP) * STEP;
    let Some(peak) = facts.peak.map(up) else {
        warnings.push(format!(
            "{} was never seen running: sizes cannot be derived, run the agent while it works",
            facts.unit
        ));
        return match priority {
            Priority::Critical => vec![("OOMScoreAdjust", "-900".to_owned())],
            Priority::Low => vec![("OOMScoreAdjust", "500".to_owned())],
            _ => Vec::new(),
        };
    };
    match priority {
        Priority::Critical => {
            // Nothing above may be so tight that the unit, without swap, would be killed.
            let tight = facts.above.iter().find(|(_, property, limit)| {
                *property != LOW && limit.bytes().is_some_and(|limit| limit < peak + peak / 4)
            });
            let mut settings = vec![("MemoryLow", peak.to_string())];
            if tight.is_none() {
                settings.push(("MemorySwapMax", "0".to_owned()));
            }
            settings.extend([
                ("OOMScoreAdjust", "-900".to_owned()),
                ("LimitMEMLOCK", peak.to_string()),
            ]);
            if facts
                .text
                .lines()
                .any(|line| line.trim_start().starts_with("CapabilityBoundingSet="))
                && !facts.text.contains("CAP_IPC_LOCK")
            {
                warnings.push(
                    "CapabilityBoundingSet= leaves out CAP_IPC_LOCK: the unit can lock memory only up to LimitMEMLOCK="
                        .to_owned(),
                );
            }
            settings
        }
        Priority::High => vec![
            ("MemoryLow", up(peak / 2).to_string()),
            ("OOMScoreAdjust", "-500".to_owned()),
        ],
        Priority::Medium => vec![("MemoryHigh", up(peak * 2).min(facts.ram).to_string())],
        Priority::Low => vec![
            ("MemoryHigh", up(peak + peak / 4).min(facts.ram / 2).to_string()),
            (
                "MemoryMax",
                up(peak * 2).min(facts.ram / 2 + facts.ram / 4).to_string(),
            ),
            ("OOMScoreAdjust", "500".to_owned()),
        ],
        Priority::Observe => Vec::new(),
    }
}

fn warnings(facts: &UnitFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    let set = |name: &str| {
        facts.text.lines().any(|line| {
            line.trim_start()
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        })
    };
    if set("MemoryLock") {
        warnings.push(
            "MemoryLock= is no directive and is ignored: LimitMEMLOCK= and mlock(2) are what locks memory"
                .to_owned(),
        );
    }
    if set("MemoryLimit") {
        warnings.push(
            "MemoryLimit= is for cgroup v1 and ignored beside newer settings: use MemoryMax=".to_owned(),
        );
    }
    for name in ["MemorySwapMax", "MemoryMax", "MemoryHigh", "MemoryLow"] {
        if set(name) {
            warnings.push(format!(
                "{name}= is set by somebody already; 60-memmon.conf overrides it if it sorts later"
            ));
        }
    }
    if facts.missing {
        warnings.push(format!(
            "systemd knows no unit {}: a drop-in would wait for one; is the name right?",
            facts.unit
        ));
    }
    for (slice, property, limit) in facts.above.iter().filter(|(_, property, _)| *property != LOW) {
        if let (Limit::Bytes(limit), Some(peak)) = (limit, facts.peak)
            && *limit < peak + peak / 4
        {
            warnings.push(format!(
                "{property}= of {slice} is {} MiB and decides instead: the unit was seen to use {} MiB",
                limit >> 20,
                peak >> 20
            ));
        }
    }
    for place in &facts.oomd {
        warnings.push(format!("systemd-oomd may kill in {place}, whatever is set here"));
    }
    if let Some(other) = &facts.second_writer {
        warnings.push(format!("{other} writes the same limits: stop and disable it"));
    }
    warnings
}

/// A diff of two small texts, line by line in order: what is gone, what is new, what stays.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut text = String::new();
    let mut rest = new.as_slice();
    for line in old {
        match rest.iter().position(|candidate| *candidate == line) {
            Some(at) => {
                rest[..at]
                    .iter()
                    .for_each(|added| text.push_str(&format!("+{added}\n")));
                text.push_str(&format!(" {line}\n"));
                rest = &rest[at + 1..];
            }
            None => text.push_str(&format!("-{line}\n")),
        }
    }
    rest.iter()
        .for_each(|added| text.push_str(&format!("+{added}\n")));
    text
}

#[cfg(test)]
#[path = "unit_section_tests.rs"]
mod tests;
