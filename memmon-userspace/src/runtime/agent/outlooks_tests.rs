//! Which forecasts raise alarms, and that each of them ends.

use super::*;
use crate::policy::{CgroupView, UnitView};

const WITHIN: f64 = 1200.0;

fn made(resource: Resource, unit: Option<&str>, minutes: Option<f64>) -> ResourceForecast {
    ResourceForecast {
        resource,
        unit: unit.map(str::to_owned),
        used: 3 << 30,
        limit: 4 << 30,
        forecast: minutes.map_or(Forecast::NoTrend, |minutes| Forecast::Exhausts {
            earliest: (minutes - 3.0) * 60.0,
            expected: minutes * 60.0,
            latest: (minutes + 3.0) * 60.0,
        }),
    }
}

fn give(outlooks: &mut Outlooks, made: &[ResourceForecast], matters: Matters) -> Vec<Told> {
    outlooks.take(Some(Arc::from(made)), WITHIN, |_| matters, MonoTime(7))
}

#[test]
fn an_alarm_says_what_will_be_full_and_when_and_ends() {
    let mut outlooks = Outlooks::new(MonoTime(0x1a));
    let near = [made(Resource::MemoryMax, Some("omnimind.service"), Some(15.0))];
    assert_eq!(give(&mut outlooks, &near, Matters::Yes), []);
    let told = give(&mut outlooks, &near, Matters::Yes);
    let [Told::Raised(alarm, _)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        alarm.reason,
        "omnimind.service reaches MemoryMax in 12–18 min: 3072.0 MiB of 4096.0 MiB in use"
    );
    let field = alarm.field(0);
    assert_eq!((field.severity, field.kind), ("warning", AlarmKind::Forecast));
    assert_eq!(field.id, "1a-f1");
    assert_eq!(outlooks.alarms().count(), 1);
    let calm = [made(Resource::MemoryMax, Some("omnimind.service"), None)];
    for _ in 0..4 {
        assert_eq!(give(&mut outlooks, &calm, Matters::Yes), []);
    }
    assert_eq!(
        give(&mut outlooks, &calm, Matters::Yes),
        [Told::Cleared(alarm.clone(), Some(calm[0].clone()))]
    );
    assert_eq!(outlooks.alarms().count(), 0);
    assert!(outlooks.watched.is_empty());
}

#[test]
fn ram_and_swap_of_the_host_are_alarms_of_their_own() {
    let mut outlooks = Outlooks::new(MonoTime(1));
    let near = [
        made(Resource::Ram, None, Some(10.0)),
        made(Resource::Swap, None, Some(10.0)),
    ];
    give(&mut outlooks, &near, Matters::Yes);
    let told = give(&mut outlooks, &near, Matters::Yes);
    let words: Vec<(String, String)> = outlooks
        .alarms()
        .map(|alarm| (alarm.subject.to_string(), alarm.reason.clone()))
        .collect();
    assert_eq!(told.len(), 2);
    assert_eq!(words[0].0, HOST);
    assert!(words[0].1.starts_with("RAM is used up in 7–13 min"), "{words:?}");
    assert!(words[1].1.starts_with("swap is used up in 7–13 min"), "{words:?}");
}

#[test]
fn what_does_not_matter_raises_nothing_and_ends_what_is_on() {
    let mut outlooks = Outlooks::new(MonoTime(1));
    let near = [made(Resource::MemoryMax, Some("batch.service"), Some(10.0))];
    for matters in [Matters::No, Matters::Stays] {
        for _ in 0..9 {
            assert_eq!(give(&mut outlooks, &near, matters), []);
        }
    }
    give(&mut outlooks, &near, Matters::Yes);
    give(&mut outlooks, &near, Matters::Yes);
    for _ in 0..9 {
        give(&mut outlooks, &near, Matters::Stays);
        assert_eq!(outlooks.alarms().count(), 1, "mere growth of cache ends no alarm");
    }
    let told: Vec<Told> = (0..5)
        .flat_map(|_| give(&mut outlooks, &near, Matters::No))
        .collect();
    assert!(matches!(told.as_slice(), [Told::Cleared(..)]), "{told:?}");
}

#[test]
fn alarms_end_when_the_unit_or_history_is_gone_or_nobody_wants_them() {
    let raised = || {
        let mut outlooks = Outlooks::new(MonoTime(1));
        let near = [made(Resource::MemoryMax, Some("a.service"), Some(10.0))];
        give(&mut outlooks, &near, Matters::Yes);
        give(&mut outlooks, &near, Matters::Yes);
        outlooks
    };
    let mut outlooks = raised();
    let told: Vec<Told> = (0..5)
        .flat_map(|_| give(&mut outlooks, &[], Matters::Yes))
        .collect();
    assert!(matches!(told.as_slice(), [Told::Cleared(_, None)]), "{told:?}");
    let mut outlooks = raised();
    let told: Vec<Told> = (0..5)
        .flat_map(|_| outlooks.take(None, WITHIN, |_| Matters::Yes, MonoTime(9)))
        .collect();
    assert!(matches!(told.as_slice(), [Told::Cleared(_, None)]), "{told:?}");
    let mut outlooks = raised();
    let minutes = |minutes: u64| MonoTime(7 + minutes * 60_000_000_000);
    assert_eq!(outlooks.expire(OLD, minutes(9)), []);
    assert_eq!(outlooks.expire(OLD, minutes(10)).len(), 1);
    assert_eq!(outlooks.latest, None, "what is old is not shown either");
    assert_eq!(outlooks.expire(OLD, minutes(30)), []);
    let mut outlooks = raised();
    assert_eq!(outlooks.end().len(), 1);
    assert_eq!(outlooks.end(), []);
}

#[test]
fn file_cache_that_fills_a_limit_is_no_reason() {
    let snapshot = |cache| {
        let mut snapshot = HostSnapshot::default();
        let limit = crate::decode::Limit::Max;
        let cgroup = CgroupView {
            id: 1,
            current: 3 << 30,
            max: limit,
            high: limit,
            low: limit,
            min: limit,
            swap: None,
        };
        snapshot.cgroups.insert("/a.service".to_owned(), cgroup);
        snapshot.units.push(UnitView {
            unit: "a.service".to_owned(),
            priority: Priority::Medium,
            cgroup: "/a.service".to_owned(),
            anon: 0,
            cache,
            idle_cache: 0,
            pressure: None,
            below: Vec::new(),
            below_complete: true,
            tagged: false,
            theirs: None,
            last_critical: None,
            zswap_room: None,
        });
        snapshot
    };
    let solid = |cache| is_solid(&snapshot(cache), "a.service", 4 << 30);
    assert_eq!([0, 1 << 30, (1 << 30) + 1].map(solid), [true, true, false]);
    assert!(is_solid(&snapshot(0), "unknown.service", 4 << 30));
}

#[test]
fn every_end_has_its_reason() {
    let of = |forecast| {
        end_reason(Some(&ResourceForecast {
            forecast,
            ..made(Resource::Ram, None, None)
        }))
    };
    assert!(of(Forecast::Reached).contains("reached"));
    assert!(of(Forecast::NoTrend).contains("does not grow"));
    assert!(end_reason(None).contains("not there"));
}
