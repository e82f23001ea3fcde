//! What is stored comes back; what is old becomes coarse and then goes; a bad disk costs history only.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Entry, Event, EventKind, HOST, History, Keep, Recorder, Sample, Store, Tick};

const DAY: i64 = 24 * 3600;
const START: i64 = 1_800_000_000 / (6 * 3600) * (6 * 3600);
const KEEP: Keep = Keep {
    seconds: 30 * DAY,
    bytes: 400 << 20,
};

fn sample(unit: &str, memory: u64) -> Sample {
    Sample {
        unit: unit.to_owned(),
        memory,
        swap: memory / 4,
        swapped_out: 3,
        stalled_us: 5,
        ..Sample::default()
    }
}

fn tick(at: i64, units: usize) -> Tick {
    let phase = u64::try_from(at / 60).unwrap_or(0);
    let mut samples = vec![Sample {
        memory_limit: Some(8 << 30),
        ..sample(HOST, 4 << 30)
    }];
    samples.extend((0..units).map(|unit| {
        let noise = (phase.wrapping_mul(2_654_435_761) ^ unit as u64) % 100_000 * 4096;
        sample(&format!("unit-{unit}.service"), (100 << 20) + noise)
    }));
    Tick {
        at,
        samples,
        swap_total: Some(2 << 30),
    }
}

fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    (dir, path)
}

fn filled(path: &Path, keep: Keep, units: usize, from: i64, to: i64, step: i64) -> Store {
    let mut store = Store::open(path, keep).expect("it opens");
    let mut at = from;
    while at < to {
        store.tick(&tick(at, units)).expect("it is stored");
        at += step;
    }
    store
}

#[test]
fn samples_come_back_as_they_were() {
    let (_dir, path) = file();
    let store = filled(&path, KEEP, 2, START, START + 600, 60);
    let history = History::open(&path).expect("it opens beside the writer");
    let series = history.series(HOST, START, START + 600, 1000).expect("rows");
    assert_eq!(series.len(), 10);
    assert_eq!(series[3].at, START + 180);
    assert_eq!(series[3].memory_bytes, 4 << 30);
    assert_eq!(series[3].memory_limit_bytes, Some(8 << 30));
    assert_eq!(
        history
            .series("unit-1.service", START + 60, START + 180, 1000)
            .expect("rows")
            .len(),
        2
    );
    assert_eq!(
        history
            .series("no.service", START, START + 600, 1000)
            .expect("none"),
        []
    );
    assert_eq!(history.span().expect("a span"), Some((START, START + 540)));
    let overview = history.overview(START, START + 600).expect("units");
    let names: Vec<&str> = overview.iter().map(|unit| unit.unit.as_str()).collect();
    assert_eq!(names[0], HOST);
    assert_eq!(names.len(), 3);
    assert_eq!(overview[0].swapped_out_pages, 30);
    drop(store);
}

#[test]
fn coarse_rows_keep_sums_means_and_peaks() {
    let (_dir, path) = file();
    let mut store = Store::open(&path, KEEP).expect("it opens");
    for minute in 0..60 {
        let at = START + minute * 60;
        let samples = vec![
            sample(HOST, 1),
            Sample {
                unit: "a.service".into(),
                memory: minute as u64 * 1000,
                ..sample("", 0)
            },
        ];
        store
            .tick(&Tick {
                at,
                samples,
                swap_total: None,
            })
            .expect("stored");
    }
    drop(store);
    let history = History::open(&path).expect("it opens");
    let series = history
        .series("a.service", START, START + 3600, 15)
        .expect("rows");
    assert_eq!(series.len(), 11, "the twelfth step is not over yet: {series:?}");
    assert_eq!(
        (series[1].memory_bytes, series[1].memory_peak_bytes),
        (7000, 9000)
    );
    assert_eq!(series[1].swapped_out_pages, 15);
}

#[test]
fn old_rows_become_coarse_and_then_go() {
    let (_dir, path) = file();
    drop(filled(
        &path,
        Keep {
            seconds: 10 * DAY,
            ..KEEP
        },
        1,
        START,
        START + 12 * DAY,
        600,
    ));
    let history = History::open(&path).expect("it opens");
    let now = START + 12 * DAY;
    let unit = "unit-0.service";
    let steps = |from: i64, to: i64| {
        let series = history.series(unit, from, to, 100_000).expect("rows");
        (
            series.first().map(|row| row.at),
            series.windows(2).map(|pair| pair[1].at - pair[0].at).max(),
        )
    };
    assert_eq!(
        steps(now - 3600, now).1,
        Some(600),
        "the last hour as it was measured"
    );
    assert_eq!(steps(now - 9 * DAY, now).1, Some(1800), "nine days in half hours");
    let (first, _) = steps(START, now);
    assert!(
        first.is_some_and(|first| first >= now - 10 * DAY - 2 * 3600),
        "{first:?}"
    );
}

#[test]
fn the_file_does_not_outgrow_its_size() {
    let (_dir, path) = file();
    let keep = Keep {
        seconds: 30 * DAY,
        bytes: 4 << 20,
    };
    drop(filled(&path, keep, 100, START, START + 3 * DAY, 300));
    let size = std::fs::metadata(&path).expect("the file").len();
    assert!(size <= keep.bytes, "{size}");
    let history = History::open(&path).expect("it opens");
    let newest = history
        .series("unit-7.service", START + 3 * DAY - 3600, START + 3 * DAY, 1000)
        .expect("rows");
    assert_eq!(newest.len(), 12, "what is new is there");
}

#[test]
fn events_come_back_in_order_and_by_unit() {
    let (_dir, path) = file();
    let mut store = Store::open(&path, KEEP).expect("it opens");
    for (at, kind, unit) in [
        (1, EventKind::Alarm, "a.service"),
        (2, EventKind::Decision, "b.service"),
        (3, EventKind::Outcome, "a.service"),
    ] {
        let event = Event {
            at: START + at,
            kind,
            unit: Some(unit.to_owned()),
            text: format!("event {at}"),
            data: Some(serde_json::json!({ "n": at })),
        };
        store.event(&event).expect("stored");
    }
    let history = History::open(&path).expect("it opens");
    let texts = |unit, kind, limit| -> Vec<String> {
        let events = history
            .events(START, START + 10, unit, kind, limit)
            .expect("events");
        events.into_iter().map(|event| event.text).collect()
    };
    assert_eq!(texts(None, None, 10), ["event 1", "event 2", "event 3"]);
    assert_eq!(texts(None, None, 2), ["event 2", "event 3"]);
    assert_eq!(texts(Some("a.service"), None, 10), ["event 1", "event 3"]);
    assert_eq!(texts(None, Some("decision"), 10), ["event 2"]);
}

#[test]
fn a_clock_that_was_set_drops_nothing_at_once() {
    let (_dir, path) = file();
    let mut store = filled(&path, KEEP, 1, START, START + 3600, 60);
    let far = START + 400 * DAY;
    store.tick(&tick(far, 1)).expect("stored");
    store.tick(&tick(far + 60, 1)).expect("stored");
    // Somebody notices and sets it back.
    store.tick(&tick(START + 3660, 1)).expect("stored");
    let history = History::open(&path).expect("it opens");
    let rows = history
        .series("unit-0.service", START, START + 3700, 10_000)
        .expect("rows");
    assert_eq!(rows.len(), 61);
}

#[test]
fn a_file_that_is_no_database_is_put_aside() {
    let (dir, path) = file();
    std::fs::write(&path, vec![b'x'; 8192]).expect("written");
    drop(filled(&path, KEEP, 1, START, START + 120, 60));
    assert!(dir.path().join("history.db.unusable").exists());
    assert_eq!(
        History::open(&path)
            .expect("it opens")
            .series(HOST, START, START + 120, 10)
            .expect("rows")
            .len(),
        2
    );
}

fn wait_for(recorder: &Recorder, what: impl Fn(&super::RecorderState) -> bool) -> super::RecorderState {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let state = recorder.state();
        if what(&state) {
            return state;
        }
        assert!(Instant::now() < deadline, "{state:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_recorder_stores_until_it_is_dropped() {
    let (_dir, path) = file();
    let recorder = Recorder::start(path.clone(), KEEP).expect("a thread");
    for minute in 0..10 {
        recorder.put(Entry::Tick(tick(START + minute * 60, 3)));
    }
    drop(recorder);
    assert_eq!(
        History::open(&path)
            .expect("it opens")
            .series(HOST, START, START + 600, 100)
            .expect("rows")
            .len(),
        10
    );
}

#[test]
fn a_disk_that_cannot_be_written_costs_history_only() {
    let recorder = Recorder::start("/proc/memmon/history.db".into(), KEEP).expect("a thread");
    let begin = Instant::now();
    for minute in 0..1000 {
        recorder.put(Entry::Tick(tick(START + minute * 60, 3)));
    }
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "putting never waits for the disk"
    );
    let state = wait_for(&recorder, |state| state.dropped == 1000);
    assert!(
        state
            .failing
            .is_some_and(|why| why.contains("/proc/memmon/history.db"))
    );
    assert_eq!(state.written, 0);
}

#[test]
fn a_full_disk_is_survived_and_told() {
    let (_dir, path) = file();
    // Smaller than one tick needs.
    let recorder = Recorder::start(
        path,
        Keep {
            seconds: 30 * DAY,
            bytes: 80 << 10,
        },
    )
    .expect("a thread");
    recorder.put(Entry::Tick(tick(START, 5000)));
    let state = wait_for(&recorder, |state| state.dropped == 1);
    assert!(
        state.failing.as_ref().is_some_and(|why| why.contains("full")),
        "{state:?}"
    );
}

/// The promise for 500 units and 30 days. Takes minutes without optimisation:
/// `cargo nextest run --release --run-ignored all -p memmon five_hundred_units_for_thirty_days --no-capture`.
#[test]
#[ignore = "writes 500 units x 30 days: minutes"]
fn five_hundred_units_for_thirty_days() {
    let (_dir, path) = file();
    let begin = Instant::now();
    let end = START + 30 * DAY;
    let store = filled(&path, KEEP, 500, START, end, 60);
    let ticks = 30 * 24 * 60;
    eprintln!(
        "{ticks} ticks of 500 units: {:?}, {:?} each",
        begin.elapsed(),
        begin.elapsed() / ticks
    );
    drop(store);
    let size = std::fs::metadata(&path).expect("the file").len();
    eprintln!("size: {:.0} MB", size as f64 / 1e6);
    assert!(size < 500_000_000, "{size}");
    let history = History::open(&path).expect("it opens");
    let timed = |name: &str, query: &dyn Fn() -> usize| {
        let begin = Instant::now();
        let rows = query();
        let took = begin.elapsed();
        eprintln!("{name}: {took:?}, {rows} rows");
        assert!(rows > 0 && took < Duration::from_millis(200), "{name}: {took:?}");
    };
    for (name, span) in [
        ("hour", 3600),
        ("day", DAY),
        ("week", 7 * DAY),
        ("30 days", 30 * DAY),
    ] {
        let from = end - span;
        timed(&format!("all units, {name}"), &|| {
            history.overview(from, end).expect("rows").len()
        });
        timed(&format!("one unit, {name}"), &|| {
            history
                .series("unit-77.service", from, end, 2000)
                .expect("rows")
                .len()
        });
    }
}
