//! The part of the configuration that strategies rest on.

use crate::config::{Config, Proactive, Reaction, Strategies, Thresholds};

/// The part of the configuration that strategies rest on.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// `[thresholds]`.
    pub thresholds: &'a Thresholds,
    /// `[reaction]`.
    pub reaction: &'a Reaction,
    /// `[strategies]`.
    pub strategies: &'a Strategies,
    /// `[proactive]`.
    pub proactive: &'a Proactive,
}

impl<'a> From<&'a Config> for Rules<'a> {
    fn from(config: &'a Config) -> Self {
        Self {
            thresholds: &config.thresholds,
            reaction: &config.reaction,
            strategies: &config.strategies,
            proactive: &config.proactive,
        }
    }
}
