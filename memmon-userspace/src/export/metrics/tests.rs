#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use memmon_common::event::{STALL_BUCKETS, StallHistogram};

use super::*;
use crate::{config::Priority, kernel::programs::ProgramStats, testing::tool};

fn unit(name: &str, priority: Priority) -> UnitMemory {
    UnitMemory {
        unit: Arc::from(name),
        priority,
        memory_bytes: Some(4096),
        swap_bytes: None,
    }
}

fn swapout(unit: &str) -> SwapOut {
    SwapOut {
        unit: Arc::from(unit),
        kind: "kswapd",
    }
}

/// Something in every family, with names that need escaping.
fn everything() -> Facts {
    let odd: Arc<str> = Arc::from("odd\\x2dname\"\n.service");
    let mut reaction = Histogram::default();
    reaction.observe(Duration::from_micros(180));
    reaction.observe(Duration::from_secs(3));
    let mut stalls = StallHistogram::EMPTY;
    stalls.sum_ns = 2_500_000_000;
    stalls.buckets[10] = 2;
    stalls.buckets[STALL_BUCKETS - 1] = 1;
    let blame = Blame {
        victim: Arc::from("a.service"),
        reclaimer: Arc::from("kswapd"),
        kind: "kswapd",
    };
    Facts {
        units: vec![
            UnitMemory {
                swap_bytes: Some(8192),
                ..unit("a.service", Priority::Critical)
            },
            unit(&odd, Priority::Observe),
        ],
        swapout: [(swapout("a.service"), 7), (swapout(&odd), 1)].into(),
        swapin: [(Unit { unit: odd }, 5)].into(),
        critical: [(
            Critical {
                unit: Arc::from("a.service"),
                region: Arc::from(UNTAGGED),
            },
            7,
        )]
        .into(),
        blame: [(blame, 7)].into(),
        stalls: [(
            Stall {
                unit: Arc::from("a.service"),
                kind: "direct",
            },
            Histogram::from(&stalls),
        )]
        .into(),
        alarms: [(
            Alarm {
                unit: Arc::from("a.service"),
                severity: "critical",
            },
            1,
        )]
        .into(),
        actions: [(
            Action {
                unit: Arc::from("a.service"),
                action: "protect",
                result: "done",
            },
            1,
        )]
        .into(),
        leases: [(
            Lease {
                unit: Arc::from("a.service"),
                property: "MemorySwapMax",
            },
            1,
        )]
        .into(),
        reaction,
        lost: [(lost::RING_FULL, 3), (lost::MISSED, 0)].into(),
        programs: vec![ProgramStats {
            name: "swap_out".to_owned(),
            run_time_ns: 1_500,
            run_count: 10,
            recursion_misses: 2,
            ..ProgramStats::default()
        }],
        exhaustion: [(
            Exhaustion {
                resource: "swap",
                unit: Arc::from(""),
            },
            86_400.5,
        )]
        .into(),
    }
}

#[test]
fn every_family_is_on_the_page() {
    let facts = Arc::new(everything());
    insta::assert_snapshot!("openmetrics", render(&facts, Format::OpenMetrics).unwrap());
    insta::assert_snapshot!("text", render(&facts, Format::Text).unwrap());
}

/// Runs `command` with `input` and returns whether it was satisfied, and what it said.
fn feed(command: &mut Command, input: &str) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn promtool_accepts_the_text_format() {
    let Some(promtool) = tool("promtool") else { return };
    let check = |page: &str| feed(Command::new(&promtool).args(["check", "metrics"]), page);
    for facts in [everything(), Facts::default()] {
        let page = render(&Arc::new(facts), Format::Text).unwrap();
        assert_eq!(check(&page), (true, String::new()), "{page}");
    }
    let broken = render(&Arc::new(everything()), Format::Text).unwrap() + "memmon_broken{unit=} 1\n";
    assert!(!check(&broken).0, "a check that accepts anything is none");
}

#[test]
fn the_reference_parser_accepts_openmetrics() {
    // Debian's own: the parser is a package of it.
    let python = "/usr/bin/python3";
    let has_parser = Command::new(python)
        .args(["-c", "import prometheus_client.openmetrics.parser"])
        .output();
    if !has_parser.is_ok_and(|output| output.status.success()) {
        crate::testing::skip("python3 has no prometheus_client");
        return;
    }
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        print(sum(len(family.samples) for family in parse(sys.stdin.read())))";
    let parse = |page: &str| feed(Command::new(python).args(["-c", script]), page);
    let page = render(&Arc::new(everything()), Format::OpenMetrics).unwrap();
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(parse(&page), (true, format!("{samples}\n")));
    let page = render(&Arc::new(Facts::default()), Format::OpenMetrics).unwrap();
    assert!(parse(&page).0, "{page}");
    assert!(!parse(&page.replace("# EOF\n", "")).0);
}

#[test]
fn content_negotiation() {
    use Format::{OpenMetrics, Text};
    for (accept, format) in [
        (None, Text),
        (Some(""), Text),
        (Some("*/*"), Text),
        (Some("text/plain;version=0.0.4"), Text),
        (Some("application/openmetrics-text"), OpenMetrics),
        (Some("application/openmetrics-text;version=9.0.0"), Text),
        (Some("application/openmetrics-text;q=0"), Text),
        // Prometheus 2.42, then 3.
        (
            Some(
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ),
            OpenMetrics,
        ),
        (
            Some(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1",
            ),
            OpenMetrics,
        ),
        (Some("text/plain;q=0.9, application/openmetrics-text;q=0.8"), Text),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept:?}");
    }
}

#[test]
fn stalls_keep_their_number_and_do_not_move_below_their_bound() {
    let mut kernel = StallHistogram::EMPTY;
    for (at, bucket) in (1..).zip(&mut kernel.buckets) {
        *bucket = at;
    }
    let histogram = Histogram::from(&kernel);
    assert_eq!(histogram.count(), kernel.buckets.iter().sum::<u64>());
    // 64 µs is 2^6: everything in the first seven buckets fits it.
    assert_eq!(histogram.buckets()[0], (64e-6, (1..=7).sum()));
    assert_eq!(histogram.buckets().last(), Some(&(f64::INFINITY, 24)));
}

/// `rounds` snapshots of ever more units, each of whose counters grows; the limits are far below.
fn growing(bounds: &mut Bounds, rounds: u64) -> Vec<Facts> {
    (1..=rounds)
        .map(|round| {
            let names: Vec<String> = (0..round * 3).map(|n| format!("u{n}.service")).collect();
            let pair = |name: &String| Blame {
                victim: Arc::from(name.as_str()),
                reclaimer: Arc::from("u1.service"),
                kind: "direct",
            };
            let region = |name: &String| Critical {
                unit: Arc::from("u0.service"),
                region: Arc::from(name.as_str()),
            };
            bounds.apply(Facts {
                units: names.iter().map(|name| unit(name, Priority::Observe)).collect(),
                swapout: names.iter().map(|name| (swapout(name), round)).collect(),
                blame: names.iter().map(|name| (pair(name), round)).collect(),
                critical: names.iter().map(|name| (region(name), round)).collect(),
                ..Facts::default()
            })
        })
        .collect()
}

#[test]
fn labels_are_bounded_and_no_counter_falls_or_loses_its_series() {
    let mut bounds = Bounds::new(10, 0, 6, 4);
    let snapshots = growing(&mut bounds, 20);
    let last = snapshots.last().unwrap();
    assert_eq!((last.swapout.len(), last.critical.len()), (11, 5));
    assert!(last.blame.len() <= 6 + 11, "{:?}", last.blame);
    assert_eq!(last.units.len(), 11);
    assert_eq!(last.swapout.values().sum::<u64>(), 60 * 20);
    assert_eq!(last.blame.values().sum::<u64>(), 60 * 20);
    for pair in snapshots.windows(2) {
        for (key, before) in &pair[0].swapout {
            assert!(pair[1].swapout[key] >= *before, "{key:?}");
        }
        for (key, before) in &pair[0].blame {
            assert!(pair[1].blame[key] >= *before, "{key:?}");
        }
        for (key, before) in &pair[0].critical {
            assert!(pair[1].critical[key] >= *before, "{key:?}");
        }
    }
}

#[test]
fn declared_units_have_room_of_their_own_and_what_was_folded_stays_folded() {
    let mut bounds = Bounds::new(2, 1, 10, 10);
    let facts = |priority| Facts {
        units: vec![
            unit("a.service", Priority::Observe),
            unit("b.service", Priority::Observe),
            unit("c.service", priority),
            unit("d.service", Priority::Critical),
        ],
        swapout: ["a", "b", "c", "d"]
            .map(|name| (swapout(&format!("{name}.service")), 5))
            .into(),
        ..Facts::default()
    };
    let mut names = |facts| -> Vec<String> {
        let facts = bounds.apply(facts);
        assert_eq!(facts.swapout.values().sum::<u64>(), 20);
        facts.swapout.keys().map(|key| key.unit.to_string()).collect()
    };
    assert_eq!(
        names(facts(Priority::Observe)),
        ["a.service", "d.service", "other"]
    );
    // Declared later: it goes on counting where it began, or `other` would fall.
    assert_eq!(
        names(facts(Priority::Critical)),
        ["a.service", "d.service", "other"]
    );
}

#[test]
fn alarms_and_forecasts_about_the_host_are_not_folded_away() {
    let mut bounds = Bounds::new(1, 0, 1, 1);
    let alarm = |unit: &str| Alarm {
        unit: Arc::from(unit),
        severity: "warning",
    };
    let outlook = |resource, unit: &str| Exhaustion {
        resource,
        unit: Arc::from(unit),
    };
    let facts = bounds.apply(Facts {
        units: vec![
            unit("a.service", Priority::Critical),
            unit("b.service", Priority::Critical),
        ],
        alarms: ["(host)", "a.service", "b.service"]
            .map(|unit| (alarm(unit), 1))
            .into(),
        exhaustion: [
            (outlook("ram", ""), 60.0),
            (outlook("memory_max", "a.service"), 60.0),
            (outlook("memory_max", "b.service"), 60.0),
        ]
        .into(),
        ..Facts::default()
    });
    let units: Vec<&str> = facts.alarms.keys().map(|key| &*key.unit).collect();
    assert_eq!(units, ["(host)", "a.service", "other"]);
    let units: Vec<&str> = facts.exhaustion.keys().map(|key| &*key.unit).collect();
    assert_eq!(units, ["a.service", ""]);
}

/// 500 units with every family, bounded and written: what one scrape costs. The limit is for release builds.
#[test]
fn five_hundred_units_take_less_than_ten_milliseconds() {
    let names: Vec<Arc<str>> = (0..500).map(|n| Arc::from(format!("unit-{n}.service"))).collect();
    let kinds = ["kswapd", "direct", "limit"];
    let keys = || {
        names
            .iter()
            .flat_map(|unit| kinds.map(|kind| (Arc::clone(unit), kind)))
    };
    let mut stalls = StallHistogram::EMPTY;
    stalls.buckets = [5; STALL_BUCKETS];
    let facts = Facts {
        units: names.iter().map(|name| unit(name, Priority::High)).collect(),
        swapout: keys()
            .map(|(unit, kind)| (SwapOut { unit, kind }, 1_234_567))
            .collect(),
        swapin: names
            .iter()
            .map(|unit| {
                (
                    Unit {
                        unit: Arc::clone(unit),
                    },
                    99,
                )
            })
            .collect(),
        blame: keys()
            .map(|(victim, kind)| {
                let reclaimer = Arc::clone(&names[victim.len() % 500]);
                (
                    Blame {
                        victim,
                        reclaimer,
                        kind,
                    },
                    7,
                )
            })
            .collect(),
        stalls: keys()
            .map(|(unit, kind)| (Stall { unit, kind }, Histogram::from(&stalls)))
            .collect(),
        ..everything()
    };
    let mut bounds = Bounds::default();
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let facts = facts.clone();
            let start = Instant::now();
            let page = render(&Arc::new(bounds.apply(facts)), Format::Text).unwrap();
            assert!(page.len() > 500_000, "{}", page.len());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!(
        "a page of 500 units: {:?} to {:?}, median {:?}",
        times[0], times[8], times[4]
    );
    if !cfg!(debug_assertions) {
        assert!(times[4] < Duration::from_millis(10), "{times:?}");
    }
}
