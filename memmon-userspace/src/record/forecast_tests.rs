//! Forecasts from what is stored, and that the thread which writes makes them.

use std::time::{Duration, Instant};

use super::{Entry, HOST, History, Keep, Recorder, Resource, ResourceForecast, Sample, Store, Tick};
use crate::policy::forecast::Forecast;

const START: i64 = 1_800_000_000;
const MIB: u64 = 1 << 20;
const KEEP: Keep = Keep {
    seconds: 30 * 24 * 3600,
    bytes: 64 << 20,
};

fn sample(unit: &str, memory: u64, limit: Option<u64>) -> Sample {
    Sample {
        unit: unit.to_owned(),
        memory,
        memory_limit: limit,
        ..Sample::default()
    }
}

/// One unit leaks 10 MiB a minute, one is steady, one has no limit, one ended in the first hour; swap fills.
fn tick(minute: u64) -> Tick {
    let mut samples = vec![
        Sample {
            swap: minute * MIB,
            ..sample(HOST, 2048 * MIB, Some(8192 * MIB))
        },
        sample("leak.service", (500 + 10 * minute) * MIB, Some(2000 * MIB)),
        sample("steady.service", 500 * MIB, Some(2000 * MIB)),
        sample("free.service", (500 + 10 * minute) * MIB, None),
    ];
    if minute < 60 {
        samples.push(sample(
            "gone.service",
            (500 + 10 * minute) * MIB,
            Some(2000 * MIB),
        ));
    }
    Tick {
        at: START + 60 * i64::try_from(minute).expect("small"),
        samples,
        swap_total: Some(256 * MIB),
    }
}

fn find<'a>(made: &'a [ResourceForecast], resource: Resource, unit: Option<&str>) -> &'a ResourceForecast {
    let mut found = made
        .iter()
        .filter(|made| made.resource == resource && made.unit.as_deref() == unit);
    let first = found.next().expect("a forecast");
    assert_eq!(found.next(), None);
    first
}

fn expected(made: &ResourceForecast) -> f64 {
    match made.forecast {
        Forecast::Exhausts { expected, .. } => expected,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_runs_out_is_told_and_what_has_no_limit_or_is_gone_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut store = Store::open(&path, KEEP).expect("it opens");
    for minute in 0..120 {
        store.tick(&tick(minute)).expect("stored");
    }
    let history = History::open(&path).expect("it opens");
    let end = START + 119 * 60 + 1;
    let all = history
        .forecasts(end - 7200, end, None, Some(256 * MIB))
        .expect("forecasts");
    let names: Vec<&str> = all.iter().map(ResourceForecast::subject).collect();
    assert_eq!(names, [HOST, HOST, "leak.service", "steady.service"]);
    assert_eq!(find(&all, Resource::Ram, None).forecast, Forecast::NoTrend);
    // 119 of 256 MiB are in use, one more each minute.
    assert!((expected(find(&all, Resource::Swap, None)) - 137.0 * 60.0).abs() < 60.0);
    let leak = find(&all, Resource::MemoryMax, Some("leak.service"));
    assert_eq!((leak.used, leak.limit), (1690 * MIB, 2000 * MIB));
    assert!((expected(leak) - 31.0 * 60.0).abs() < 30.0);
    assert_eq!(
        leak.sentence().as_deref(),
        Some("leak.service reaches MemoryMax in 31 min")
    );
    let steady = find(&all, Resource::MemoryMax, Some("steady.service"));
    assert_eq!((steady.forecast, steady.sentence()), (Forecast::NoTrend, None));
    let one = history
        .forecasts(end - 7200, end, Some("leak.service"), Some(256 * MIB))
        .expect("forecasts");
    assert_eq!(one.as_slice(), std::slice::from_ref(leak));
    // A host without swap has none that could be used up; in a time without samples there is nothing at all.
    for swap in [None, Some(0)] {
        let made = history.forecasts(end - 7200, end, None, swap).expect("forecasts");
        assert!(made.iter().all(|made| made.resource != Resource::Swap));
    }
    assert_eq!(history.forecasts(0, START, None, None).expect("forecasts"), []);
}

/// Waits for forecasts that are what `wanted` says.
fn wait_for(recorder: &Recorder, wanted: impl Fn(&super::Forecasts) -> bool) -> super::Forecasts {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(made) = recorder.forecasts()
            && wanted(&made)
        {
            return made;
        }
        assert!(Instant::now() < deadline, "no such forecast");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_recorder_forecasts_at_the_first_sample_and_not_at_each() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut store = Store::open(&path, KEEP).expect("it opens");
    for minute in 0..119 {
        store.tick(&tick(minute)).expect("stored");
    }
    drop(store);
    // An agent that starts anew has the history of the one before.
    let recorder = Recorder::start(path, KEEP).expect("a thread");
    assert_eq!(recorder.forecasts(), None);
    recorder.put(Entry::Tick(tick(119)));
    let made = wait_for(&recorder, Option::is_some).expect("some");
    assert!((expected(find(&made, Resource::MemoryMax, Some("leak.service"))) - 31.0 * 60.0).abs() < 30.0);
    for minute in 120..125 {
        recorder.put(Entry::Tick(tick(minute)));
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while recorder.state().written < 6 {
        assert!(Instant::now() < deadline, "{:?}", recorder.state());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(recorder.forecasts(), None, "five more samples within a second");
}

#[test]
fn without_a_disk_nobody_can_tell() {
    let recorder = Recorder::start("/proc/memmon/history.db".into(), KEEP).expect("a thread");
    recorder.put(Entry::Tick(tick(0)));
    assert_eq!(wait_for(&recorder, Option::is_none), None);
}
