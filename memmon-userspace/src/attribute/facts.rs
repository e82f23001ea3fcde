//! What systemd says about a unit, as far as it matters here.

use crate::config::{Config, Priority};
use crate::source::systemd::UnitInfo;

/// What systemd says about a unit beyond its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// `Delegate=`: the cgroups below the unit's own belong to the unit's processes.
    pub delegated: bool,
    /// Other names of the unit (`Alias=`), its main name excluded.
    pub aliases: Vec<String>,
    /// `X-MemmonPriority=` of its unit file and drop-ins; absent if none says anything valid.
    pub declared: Option<Priority>,
}

impl From<&UnitInfo> for UnitFacts {
    fn from(info: &UnitInfo) -> Self {
        Self {
            delegated: info.delegated,
            aliases: info.aliases.clone(),
            declared: info.declared,
        }
    }
}

/// The priority of `unit` that counts: what `[units]` gives, lowered to what its unit file asks for.
///
/// An entry for exactly this name decides; else one for exactly one of its aliases (the highest, if several are
/// named); else the patterns, for the main name only.
pub(super) fn priority(config: &Config, unit: &str, facts: Option<&UnitFacts>) -> Priority {
    let exact = |name: &str| {
        config
            .units
            .lookup(name)
            .filter(|(pattern, _)| *pattern == name)
            .map(|(_, p)| p)
    };
    let aliases = facts.map_or(&[][..], |facts| &facts.aliases);
    exact(unit)
        .or_else(|| aliases.iter().filter_map(|alias| exact(alias)).max())
        .unwrap_or_else(|| config.priority(unit))
        .lowered_by(facts.and_then(|facts| facts.declared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_beat_aliases_and_those_beat_patterns() {
        let text = "[units]\n\"a.service\" = \"low\"\n\"al.service\" = \"critical\"\n\"am.service\" = \"high\"\n\
            \"b*.service\" = \"medium\"\n\"z*.service\" = \"critical\"\n";
        let config = Config::from_text("test.toml", text).expect("valid");
        let facts = |aliases: &[&str], declared| UnitFacts {
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            declared,
            ..UnitFacts::default()
        };
        let of = |unit, aliases, declared| priority(&config, unit, Some(&facts(aliases, declared)));
        assert_eq!(priority(&config, "b1.service", None), Priority::Medium);
        assert_eq!(of("a.service", &["al.service"], None), Priority::Low);
        assert_eq!(
            of("b1.service", &["am.service", "al.service"], None),
            Priority::Critical
        );
        assert_eq!(
            of("b1.service", &["z1.service"], None),
            Priority::Medium,
            "patterns are not for aliases"
        );
        assert_eq!(
            of("b1.service", &["al.service"], Some(Priority::Low)),
            Priority::Low
        );
        assert_eq!(
            of("a.service", &[], Some(Priority::Critical)),
            Priority::Low,
            "a unit file cannot raise"
        );
    }
}
