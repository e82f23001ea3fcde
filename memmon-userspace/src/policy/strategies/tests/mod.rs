//! Whole decisions, kept as snapshots; and rules that hold for all of them.

mod build;
mod episodes;
mod invariants;
mod nasty;
mod relief;
mod speed;
mod usual;
