//! A month of made-up history, written by the agent's own writer.

use std::{f64::consts::TAU, path::Path};

use anyhow::{Context as _, Result};
use memmon::record::{Event, EventKind, HOST, Keep, Sample, Store, Tick};

use super::play::{CRITICAL, sizes, units};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Fills the database at `path` up to `now`, seconds since 1970: coarser the older it is, as that is what a page
/// shows. RAM and the memory of the critical unit have been growing for the last two hours.
///
/// # Errors
/// If it cannot be written.
pub fn fill(path: &Path, now: i64) -> Result<()> {
    let keep = Keep {
        seconds: 31 * DAY,
        bytes: 400 << 20,
    };
    let mut store = Store::open(path, keep).context("opening the made-up history")?;
    let spans = [
        (now - 30 * DAY, now - DAY, HOUR),
        (now - DAY, now - 3 * HOUR, 5 * MINUTE),
        (now - 3 * HOUR, now, MINUTE),
    ];
    for (from, to, step) in spans {
        let mut at = from;
        while at < to {
            store.tick(&tick(at, now, step)).context("writing the made-up history")?;
            at += step;
        }
    }
    for (ago, length) in [(26 * HOUR, 20 * MINUTE), (5 * HOUR, 12 * MINUTE), (40 * MINUTE, 6 * MINUTE)] {
        for (kind, at) in [(EventKind::Alarm, now - ago), (EventKind::Cleared, now - ago + length)] {
            let event = Event {
                at,
                kind,
                unit: Some(CRITICAL.to_owned()),
                text: "made up".to_owned(),
                data: None,
            };
            store.event(&event).context("writing the made-up history")?;
        }
    }
    Ok(())
}

fn tick(at: i64, now: i64, step: i64) -> Tick {
    let day = (at % DAY) as f64 / DAY as f64;
    let wave = (day * TAU).sin();
    // Repeatable noise.
    let noise = ((at / MINUTE).wrapping_mul(2_654_435_761) % 1000) as f64 / 1000.0 - 0.5;
    let growth = ((at - (now - 2 * HOUR)) as f64 / (2 * HOUR) as f64).max(0.0);
    let busy = ((at / (6 * HOUR)) % 4 == 3) as u64;
    let (ram, swap) = sizes();
    let mut samples = vec![Sample {
        unit: HOST.to_owned(),
        memory: part(ram, 0.48 + 0.06 * wave + 0.01 * noise + 0.14 * growth),
        memory_limit: Some(ram),
        swap: part(swap, 0.11 + 0.03 * wave + 0.01 * noise),
        swapped_out: busy * 40 * step.unsigned_abs() / 60,
        stalled_us: busy * 90_000 * step.unsigned_abs() / 60,
    }];
    for (index, (unit, memory, swap, limit)) in units().enumerate() {
        let grows = if unit == CRITICAL { 0.22 * growth } else { 0.0 };
        let ripple = (day * TAU + index as f64).sin();
        samples.push(Sample {
            unit: unit.to_owned(),
            memory: part(memory, 0.8 + 0.08 * ripple + 0.01 * noise + grows),
            memory_limit: limit,
            swap: part(swap, 0.9 + 0.1 * ripple),
            swapped_out: busy * (swap >> 20) * step.unsigned_abs() / 600,
            stalled_us: busy * (swap >> 20) * 100 * step.unsigned_abs() / 60,
        });
    }
    Tick { at, samples }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes of a made-up host, positive"
)]
fn part(whole: u64, share: f64) -> u64 {
    (whole as f64 * share.max(0.0)) as u64
}
