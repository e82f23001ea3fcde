//! `/metrics`: what the agent has counted, as OpenMetrics or in Prometheus' text format.
//!
//! [`Facts`] is plain data; [`Bounds`] keeps the label values of one agent's life bounded; [`render`] writes the
//! page. The names are documented in `docs/metrics.md` and never change.

mod bounds;
mod counters;
mod facts;
mod families;
mod format;
mod histogram;
mod labels;
mod regions;

use std::{fmt, sync::Arc};

use prometheus_client::{encoding::text, registry::Registry};

pub use self::{
    bounds::Bounds,
    counters::Counters,
    facts::{Facts, UnitMemory, lost},
    format::Format,
    histogram::Histogram,
    labels::{Action, Alarm, Blame, Critical, Exhaustion, Lease, Stall, SwapOut, Unit},
    regions::Regions,
};

/// What a page without a tag is counted under, as a region.
pub const UNTAGGED: &str = "untagged";

/// The page.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn render(facts: &Arc<Facts>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(families::Page(Arc::clone(facts))));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(match format {
        Format::OpenMetrics => page,
        Format::Text => format::to_text(&page),
    })
}

#[cfg(test)]
mod tests;
