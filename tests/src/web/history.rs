//! A month of made-up history, written by the agent's own writer.

use std::{f64::consts::TAU, path::Path};

use anyhow::{Context as _, Result};
use memmon::record::{Event, EventKind, HOST, Keep, Sample, Store, Tick};

use super::play::{CRITICAL, sizes, units};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Alarms: how long ago, and for how long, seconds.
const BURSTS: [(i64, i64); 4] = [
    (9 * DAY, 2 * HOUR),
    (26 * HOUR, 20 * MINUTE),
    (5 * HOUR, 24 * MINUTE),
    (40 * MINUTE, 8 * MINUTE),
];

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
            store
                .tick(&tick(at, now, step))
                .context("writing the made-up history")?;
            at += step;
        }
    }
    for (ago, length) in BURSTS {
        for (kind, at) in [
            (EventKind::Alarm, now - ago),
            (EventKind::Cleared, now - ago + length),
        ] {
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
    // How much is swapped: little, and much in the bursts that the alarms are about.
    let bursts: f64 = BURSTS
        .iter()
        .map(|(ago, length)| {
            let away = (at - (now - ago + length / 2)) as f64 / *length as f64;
            (-away * away * 2.0).exp()
        })
        .sum();
    let rate = 8.0 + 60.0 * (1.0 + ripple_of(at)) + 2600.0 * bursts;
    let (ram, swap) = sizes();
    let mut samples = vec![Sample {
        unit: HOST.to_owned(),
        memory: part(ram, 0.48 + 0.06 * wave + 0.03 * noise + 0.14 * growth),
        memory_limit: Some(ram),
        swap: part(swap, 0.11 + 0.03 * wave + 0.01 * noise),
        swapped_out: times(rate, step),
        stalled_us: times(rate * 700.0, step),
    }];
    for (index, (unit, memory, swap, limit)) in units().enumerate() {
        let grows = if unit == CRITICAL { 0.22 * growth } else { 0.0 };
        let share = if unit == CRITICAL {
            0.12 * bursts.min(1.0)
        } else {
            0.06
        };
        let ripple = (day * TAU + index as f64).sin();
        samples.push(Sample {
            unit: unit.to_owned(),
            memory: part(memory, 0.8 + 0.08 * ripple + 0.025 * noise + grows),
            memory_limit: limit,
            swap: part(swap, 0.9 + 0.1 * ripple),
            swapped_out: times(rate * share, step),
            stalled_us: times(rate * share * 500.0, step),
        });
    }
    Tick {
        at,
        samples,
        swap_total: None,
    }
}

/// A slow wave of a few hours.
fn ripple_of(at: i64) -> f64 {
    (at as f64 / (2 * HOUR) as f64).sin()
}

/// So much per minute, over `step` seconds.
fn times(rate: f64, step: i64) -> u64 {
    part(1, rate * step as f64 / 60.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes of a made-up host, positive"
)]
fn part(whole: u64, share: f64) -> u64 {
    (whole as f64 * share.max(0.0)) as u64
}
