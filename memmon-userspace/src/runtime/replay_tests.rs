use super::*;
use crate::testing::schema::assert_valid;

/// A rising load: recorded with `memmon record` rules of the shipped configuration (see `a_rising_load_is_written`).
const RISING: &str = include_str!("../../tests/fixtures/recordings/rising.jsonl");
const PRIORITIES: &str = "[units]\n'batch.service' = 'low'\n'indexer.service' = 'low'\n";

fn config(text: &str) -> Config {
    Config::from_text("policy.toml", &format!("{text}\n{PRIORITIES}")).expect("valid")
}

fn rising() -> Vec<Moment> {
    read(RISING.as_bytes()).expect("a recording")
}

#[test]
fn the_policy_of_the_recording_decides_as_recorded() {
    let compared = simulate(&config(""), &rising());
    assert!(compared.len() > 10);
    for moment in &compared {
        assert!(moment.same, "at {} s: {:#?}", moment.at_seconds, moment);
        assert_valid("memmon.simulated/1", &moment.to_json());
    }
}

#[test]
fn another_policy_is_seen_to_differ() {
    let compared = simulate(
        &config("[thresholds]\nram_high = 0.60\nram_critical = 0.70"),
        &rising(),
    );
    let earlier = compared.iter().find(|moment| !moment.same).expect("a difference");
    assert!(earlier.simulated.situation.ram > earlier.recorded.as_ref().expect("recorded").situation.ram);
    let same = simulate(&config("[strategies]\ncool_down = '31s'"), &rising());
    assert!(same.iter().filter(|moment| moment.same).count() > same.len() / 2);
}

#[test]
fn what_is_written_reads_back() {
    let moments = rising();
    let mut file = Vec::new();
    begin(&mut file).expect("written");
    for moment in &moments {
        put(&mut file, moment).expect("written");
    }
    assert_eq!(read(file.as_slice()).expect("read"), moments);
}

#[test]
fn what_is_no_recording_is_told_with_its_line() {
    assert!(matches!(read(&b"{}\n"[..]), Err(RecordingError::Schema)));
    assert!(matches!(read(&b""[..]), Err(RecordingError::Schema)));
    assert!(matches!(
        read(&b"{\"schema\":\"memmon.recording/2\"}\n"[..]),
        Err(RecordingError::Version { found }) if found == "memmon.recording/2"
    ));
    let empty = format!("{{\"schema\":\"{SCHEMA}\"}}\n");
    assert!(matches!(read(empty.as_bytes()), Err(RecordingError::Empty)));
    let bad = format!("{{\"schema\":\"{SCHEMA}\"}}\n\n{{\"now\":1}}\n");
    let error = read(bad.as_bytes()).expect_err("no moment");
    assert!(matches!(error, RecordingError::Line { line: 3, .. }), "{error}");
}

/// Writes the fixture anew: `cargo nextest run --run-ignored all -p memmon a_rising_load_is_written`.
#[test]
#[ignore = "writes tests/fixtures/recordings/rising.jsonl"]
fn a_rising_load_is_written() {
    use crate::config::Priority;
    use crate::decode::{Limit, MemInfo, SwapLevel};
    use crate::policy::{Abilities, CgroupView, SwapUse, UnitView};
    const MIB: u64 = 1 << 20;
    let config = config("");
    let rules = Rules::from(&config);
    let mut state = StrategyState::default();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/recordings/rising.jsonl"
    );
    let mut file = std::fs::File::create(path).expect("made");
    begin(&mut file).expect("written");
    for step in 0..24_u64 {
        let now = MonoTime(1_000_000_000_000).after(std::time::Duration::from_secs(step * 5));
        let percent = (60 + step * 3).min(96);
        let mut snapshot = HostSnapshot {
            host: MemInfo {
                total: 8192 * MIB,
                available: 8192 * MIB / 100 * (100 - percent),
                ..MemInfo::default()
            },
            swap: SwapUse {
                zram_total: 2048 * MIB,
                zram_used: step * 20 * MIB,
                ..SwapUse::default()
            },
            kernel: Abilities {
                reclaim: true,
                swappiness: true,
            },
            ..HostSnapshot::default()
        };
        let units = [
            ("omnimind.service", 2000),
            ("omnimind-frontend.service", 600),
            ("batch.service", 1000 + step * 60),
            ("indexer.service", 300),
        ];
        let view = |id: u64, current: u64| CgroupView {
            id,
            current: current * MIB,
            max: Limit::Max,
            high: Limit::Max,
            low: Limit::Bytes(0),
            min: Limit::Bytes(0),
            swap: Some(SwapLevel {
                max: Limit::Max,
                current: 0,
            }),
        };
        let sum = units.iter().map(|(_, current)| current).sum();
        snapshot.cgroups.insert("/system.slice".into(), view(1, sum));
        for (id, (unit, current)) in (10_u64..).zip(units) {
            let cgroup = format!("/system.slice/{unit}");
            snapshot.cgroups.insert(cgroup.clone(), view(id, current));
            snapshot.units.push(UnitView {
                unit: unit.into(),
                priority: Priority::Observe,
                cgroup,
                anon: current * MIB * 2 / 3,
                cache: current * MIB / 4,
                idle_cache: current * MIB / 8,
                pressure: None,
                below: Vec::new(),
                below_complete: true,
                tagged: false,
                theirs: None,
                last_critical: None,
                zswap_room: None,
            });
        }
        let mut judged = snapshot.clone();
        for unit in &mut judged.units {
            unit.priority = config.priority(&unit.unit);
        }
        state.observe(&judged, &rules, now);
        let decision = strategies(&judged, &rules, &state, now);
        let moment = Moment {
            now,
            snapshot: judged,
            state: Some(state.clone()),
            decision: Some(decision.clone()),
        };
        put(&mut file, &moment).expect("written");
        for strategy in &decision.strategies {
            state.begun(strategy, now);
            if let (Some(unit), Some(amount)) = (&strategy.unit, strategy.amount) {
                state.ended(unit, strategy.action, amount, amount / 2, now);
            }
        }
    }
}
