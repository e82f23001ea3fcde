//! What memmon costs, on this machine's kernel with zram.
//!
//! Absolute numbers belong to the machine; what is compared was measured in turns within one run.

mod agent;
mod attach;
mod cost;
mod judgement;
mod maps;
mod pages;
pub mod report;
mod served;
mod speed;

use anyhow::Result;

use crate::live::context::Context;

/// Measures everything whose name contains one of `wanted`, or everything, in `rounds` rounds where there are rounds. Says on standard error what it is at.
///
/// # Errors
/// If something cannot be measured that should be.
pub fn run(context: &Context, rounds: usize, wanted: &[String]) -> Result<String> {
    let mut text = report::machine(rounds)?;
    for (what, measure) in [
        (
            "ns per event",
            cost::measure as fn(&Context, usize) -> Result<report::Table>,
        ),
        ("page level", pages::measure),
        ("pages per second", speed::measure),
        ("attach time", attach::measure),
        ("map memory", maps::measure),
        ("agent", agent::measure),
        ("metrics page", served::measure),
        ("judgement", judgement::measure),
    ] {
        if !wanted.is_empty() && !wanted.iter().any(|word| what.contains(word.as_str())) {
            continue;
        }
        eprintln!("bench: {what}");
        text.push('\n');
        text.push_str(&measure(context, rounds)?.to_string());
    }
    Ok(text)
}

/// The middle one; the mean of the two in the middle if there is none. `None` of nothing.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// As a floating-point number, for ratios.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
#[path = "bench_tests.rs"]
mod tests;
