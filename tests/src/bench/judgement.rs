//! What the judgement costs: one decision about 500 units, their history of 30 days, and forecasts from it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use memmon::{
    config::{Config, Priority},
    decode::{Limit, MemInfo, SwapLevel},
    policy::{
        Abilities, CgroupView, HostSnapshot, MonoTime, Rules, StrategyState, SwapUse, UnitView, strategies,
    },
    record::{HOST, History, Keep, Sample, Store, Tick, WINDOW},
};

use super::{float, median, report::Table};
use crate::{host::interrupt, live::context::Context};

const UNITS: usize = 500;
const DAY: i64 = 24 * 3600;
const DAYS: i64 = 30;
/// A multiple of the coarsest rows.
const START: i64 = 1_800_000_000 / (6 * 3600) * (6 * 3600);
const MIB: u64 = 1 << 20;

pub(super) fn measure(_: &Context, rounds: usize) -> Result<Table> {
    let mut table = Table::new(
        "The judgement",
        &["", "median", "most"],
        &format!(
            "{UNITS} units. The decision: all priorities, RAM 95 % used, {rounds} rounds of 20. History: {DAYS} days, of the \
             last two a sample a minute, of the others, of which no finer rows are kept, one in 5 min; every unit with a limit; a query opens nothing and reads what `memmon history` reads. What is \
             aimed at: a decision in 1 ms, the file below 500 MB, a query in 200 ms."
        ),
    );
    let decisions = decisions(rounds)?;
    table.row([
        "one decision".to_owned(),
        time(middle(&decisions)?),
        time(most(&decisions)),
    ]);
    let dir = tempfile::tempdir().context("a directory for the history")?;
    let path = dir.path().join("history.db");
    let ticks = fill(&path)?;
    table.row([
        "storing one sample of all".to_owned(),
        time(middle(&ticks)?),
        time(most(&ticks)),
    ]);
    let bytes = fs::metadata(&path).context("the history")?.len();
    table.row([
        "the file".to_owned(),
        format!("{:.0} MB", float(bytes) / 1e6),
        "–".into(),
    ]);
    let history = History::open(&path)?;
    let end = START + DAYS * DAY;
    for (name, span) in [
        ("hour", 3600),
        ("day", DAY),
        ("week", 7 * DAY),
        ("30 days", DAYS * DAY),
    ] {
        let all = timed(rounds, || Ok(history.overview(end - span, end)?.len()))?;
        table.row([
            format!("query: all units, {name}"),
            time(middle(&all)?),
            time(most(&all)),
        ]);
        let one = timed(rounds, || {
            Ok(history.series("unit-77.service", end - span, end, 2000)?.len())
        })?;
        table.row([
            format!("query: one unit, {name}"),
            time(middle(&one)?),
            time(most(&one)),
        ]);
    }
    let all = timed(rounds, || {
        Ok(history.forecasts(end - WINDOW, end, None, None)?.len())
    })?;
    table.row([
        "forecasts for all".to_owned(),
        time(middle(&all)?),
        time(most(&all)),
    ]);
    Ok(table)
}

/// Seconds of each decision.
fn decisions(rounds: usize) -> Result<Vec<f64>> {
    let (host, config, mut state) = (host(), Config::default(), StrategyState::default());
    let rules = Rules::from(&config);
    state.observe(&host, &rules, MonoTime(1));
    timed(rounds * 20, || {
        Ok(strategies(&host, &rules, &state, MonoTime(1)).strategies.len())
    })
}

fn timed(times: usize, mut what: impl FnMut() -> Result<usize>) -> Result<Vec<f64>> {
    (0..times)
        .map(|_| {
            let begin = Instant::now();
            let found = what()?;
            let took = begin.elapsed();
            ensure!(found > 0, "nothing was found");
            Ok(took.as_secs_f64())
        })
        .collect()
}

fn middle(seconds: &[f64]) -> Result<f64> {
    median(seconds).context("nothing was measured")
}

fn most(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(0.0, f64::max)
}

fn time(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else {
        format!("{:.1} ms", seconds * 1e3)
    }
}

fn host() -> HostSnapshot {
    let priorities = [
        Priority::Observe,
        Priority::Low,
        Priority::Medium,
        Priority::High,
        Priority::Critical,
    ];
    let mut host = HostSnapshot {
        host: MemInfo {
            total: 8192 * MIB,
            available: 410 * MIB,
            ..MemInfo::default()
        },
        swap: SwapUse {
            disk_total: 2048 * MIB,
            ..SwapUse::default()
        },
        kernel: Abilities {
            reclaim: true,
            swappiness: true,
        },
        ..HostSnapshot::default()
    };
    let cgroup = |current| CgroupView {
        id: 1,
        current,
        max: Limit::Max,
        high: Limit::Max,
        low: Limit::Bytes(0),
        min: Limit::Bytes(0),
        swap: Some(SwapLevel {
            max: Limit::Max,
            current: 0,
        }),
    };
    host.cgroups.insert("/app.slice".to_owned(), cgroup(6000 * MIB));
    for number in 0..UNITS {
        let slice = format!("/app.slice/app-{}.slice", number % 20);
        let (unit, current) = (format!("unit-{number}.service"), (10 + number as u64 % 7) * MIB);
        let path = format!("{slice}/{unit}");
        host.cgroups.entry(slice).or_insert_with(|| cgroup(300 * MIB));
        host.cgroups.insert(path.clone(), cgroup(current));
        host.units.push(UnitView {
            unit,
            priority: priorities[number % priorities.len()],
            cgroup: path,
            anon: current / 3 * 2,
            cache: current / 4,
            idle_cache: current / 8,
            pressure: None,
            below: Vec::new(),
            below_complete: true,
            tagged: false,
            theirs: None,
            last_critical: None,
            zswap_room: None,
        });
    }
    host
}

/// Stores a sample a minute; seconds of each.
fn fill(path: &Path) -> Result<Vec<f64>> {
    let keep = Keep {
        seconds: DAYS * DAY,
        bytes: 400 * MIB,
    };
    let mut store = Store::open(path, keep)?;
    let (begin, mut told) = (Instant::now(), Duration::ZERO);
    let mut took = Vec::new();
    // Older samples are only kept as rows of 5 min and more: of those a sample each makes the same file in less time.
    let (old, new) = ((DAYS - 2) * DAY / 60, DAYS * DAY / 60);
    for minute in (0..old).step_by(5).chain(old..new) {
        interrupt::check()?;
        let tick = tick(START + minute * 60);
        let start = Instant::now();
        store.tick(&tick)?;
        took.push(start.elapsed().as_secs_f64());
        if begin.elapsed() > told + Duration::from_secs(20) {
            told = begin.elapsed();
            eprintln!("bench: day {} of {DAYS} is stored", minute * 60 / DAY);
        }
    }
    Ok(took)
}

fn tick(at: i64) -> Tick {
    let phase = u64::try_from(at / 60).unwrap_or(0);
    let sample = |unit: String, memory: u64, limit| Sample {
        unit,
        memory,
        memory_limit: Some(limit),
        swap: memory / 4,
        swapped_out: 3,
        stalled_us: 5,
    };
    let mut samples = vec![sample(HOST.to_owned(), 4 << 30, 8 << 30)];
    samples.extend((0..UNITS as u64).map(|unit| {
        let noise = (phase.wrapping_mul(2_654_435_761) ^ unit) % 100_000 * 4096;
        sample(format!("unit-{unit}.service"), 100 * MIB + noise, 1 << 30)
    }));
    Tick {
        at,
        samples,
        swap_total: None,
    }
}
