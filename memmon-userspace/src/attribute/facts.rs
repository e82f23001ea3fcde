//! What systemd says about a unit, as far as it matters here.

use crate::config::Priority;

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

/// The priority that counts: what `[units]` gives, lowered by what the unit file asks for. A unit file
/// cannot raise it.
pub fn effective_priority(configured: Priority, declared: Option<Priority>) -> Priority {
    declared.map_or(configured, |declared| declared.min(configured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_file_lowers_and_never_raises() {
        use Priority::{Critical, High, Low, Observe};
        assert_eq!(effective_priority(Critical, None), Critical);
        assert_eq!(effective_priority(Critical, Some(Low)), Low);
        assert_eq!(effective_priority(High, Some(Critical)), High);
        assert_eq!(effective_priority(Observe, Some(Critical)), Observe);
    }
}
