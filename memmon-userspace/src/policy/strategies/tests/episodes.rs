//! What happens over time: asking, cooling down, backing off, the budget, the end.

use super::build::{MIB, NOW, add, carry_out, config, decide, host, later, totals, unit_mut, usual};
use crate::config::{Config, Priority};
use crate::policy::strategies::{Strategy, StrategyAction, StrategyState};
use crate::policy::{HostSnapshot, MonoTime, Outlook};

fn takes(host: &HostSnapshot, config: &Config, state: &mut StrategyState, now: MonoTime) -> Vec<Strategy> {
    let decision = decide(host, config, state, now);
    carry_out(&decision, state, now);
    decision
        .strategies
        .into_iter()
        .filter(|strategy| strategy.takes())
        .collect()
}

/// Carries out and says that each step gained `share` of what it asked for, in percent.
fn takes_and_gains(
    host: &HostSnapshot,
    config: &Config,
    state: &mut StrategyState,
    now: MonoTime,
    share: u64,
) -> Vec<(StrategyAction, String)> {
    let steps = takes(host, config, state, now);
    for step in &steps {
        if step.action != StrategyAction::ReleaseRequest {
            let asked = step.amount.unwrap_or(0);
            state.ended(
                step.unit.as_deref().expect("a unit"),
                step.action,
                asked,
                asked / 100 * share,
                now,
            );
        }
    }
    let names = steps
        .into_iter()
        .map(|step| (step.action, step.unit.unwrap_or_default()));
    names.collect()
}

#[test]
fn nothing_is_taken_within_the_grace_and_nobody_is_asked_twice() {
    let (host, config, mut state) = (usual(92), Config::default(), StrategyState::default());
    let asked = takes(&host, &config, &mut state, NOW);
    assert!(!asked.is_empty());
    assert!(
        asked
            .iter()
            .all(|step| step.action == StrategyAction::ReleaseRequest)
    );
    assert_eq!(takes(&host, &config, &mut state, later(1)), []);
    assert_eq!(takes(&host, &config, &mut state, later(4)), []);
    let taken = takes(&host, &config, &mut state, later(5));
    assert!(!taken.is_empty());
    assert!(
        taken
            .iter()
            .all(|step| step.action != StrategyAction::ReleaseRequest)
    );
}

#[test]
fn who_has_just_given_is_waited_for_rather_than_going_on_to_the_next() {
    let (host, config, mut state) = (usual(91), Config::default(), StrategyState::default());
    takes(&host, &config, &mut state, NOW);
    let first = takes_and_gains(&host, &config, &mut state, later(6), 100);
    assert!(first.iter().all(|(_, unit)| unit == "batch.service"), "{first:?}");
    // Still as short as before, since others have grown: the same unit's cool-down is on.
    assert_eq!(takes_and_gains(&host, &config, &mut state, later(8), 100), []);
    let again = takes_and_gains(&host, &config, &mut state, later(40), 100);
    assert_eq!(again, first);
}

#[test]
fn a_step_that_does_not_help_is_repeated_ever_more_slowly() {
    let mut host = host(91);
    add(&mut host, "/system.slice", "batch.service", Priority::Low, 2000);
    unit_mut(&mut host, "batch.service").cache = 0;
    let (config, mut state) = (Config::default(), StrategyState::default());
    let mut tries = Vec::new();
    for second in 0..3600 {
        let steps = takes_and_gains(&host, &config, &mut state, later(second), 0);
        if steps.iter().any(|(action, _)| *action == StrategyAction::PageOut) {
            tries.push(second);
        }
    }
    let pauses: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [60, 120, 240, 480, 960], "tries at {tries:?}");
}

#[test]
fn one_that_helps_again_is_not_held_back_any_longer() {
    let mut state = StrategyState::default();
    let config = Config::default();
    let rules = (&config).into();
    let ready = |state: &StrategyState, second| {
        state.readiness("a.service", StrategyAction::PageOut, &rules, later(second))
    };
    use crate::policy::strategies::state::Readiness::{BackedOff, CoolingDown, Ready};
    for second in [0, 100, 300] {
        state.ended("a.service", StrategyAction::PageOut, 64 * MIB, 0, later(second));
    }
    assert_eq!(
        [ready(&state, 400), ready(&state, 539), ready(&state, 540)],
        [BackedOff, BackedOff, Ready]
    );
    state.ended(
        "a.service",
        StrategyAction::PageOut,
        64 * MIB,
        8 * MIB,
        later(540),
    );
    assert_eq!([ready(&state, 569), ready(&state, 570)], [CoolingDown, Ready]);
}

#[test]
fn a_unit_that_gives_nothing_is_passed_over_for_the_next() {
    let (host, config, mut state) = (usual(91), Config::default(), StrategyState::default());
    takes(&host, &config, &mut state, NOW);
    let first = takes_and_gains(&host, &config, &mut state, later(6), 0);
    let second = takes_and_gains(&host, &config, &mut state, later(8), 0);
    assert!(first.iter().all(|(_, unit)| unit == "batch.service"), "{first:?}");
    assert!(
        !second.is_empty() && second.iter().all(|(_, unit)| unit != "batch.service"),
        "{second:?}"
    );
}

#[test]
fn a_running_step_is_not_begun_again() {
    let (host, config, mut state) = (usual(91), Config::default(), StrategyState::default());
    takes(&host, &config, &mut state, NOW);
    assert!(!takes(&host, &config, &mut state, later(6)).is_empty());
    // Nobody has said that it ended.
    assert_eq!(takes(&host, &config, &mut state, later(200)), []);
}

#[test]
fn the_budget_of_a_minute_is_kept() {
    let mut host = host(99);
    for number in 0..40 {
        add(
            &mut host,
            "/system.slice",
            &format!("job-{number}.service"),
            Priority::Low,
            30,
        );
    }
    let (config, mut state) = (
        config("[strategies]\nactions_per_minute = 7"),
        StrategyState::default(),
    );
    let mut begun: Vec<MonoTime> = Vec::new();
    for second in 0..300 {
        let now = later(second);
        let steps = takes_and_gains(&host, &config, &mut state, now, 50);
        begun.extend(steps.iter().map(|_| now));
        let within = begun.iter().filter(|at| now.since(**at).as_secs() < 60).count();
        assert!(within <= 7, "{within} in the minute before second {second}");
    }
    assert!(begun.len() >= 30, "and it is used: {}", begun.len());
}

#[test]
fn what_waits_for_the_budget_is_said() {
    let mut host = host(99);
    for number in 0..10 {
        add(
            &mut host,
            "/system.slice",
            &format!("job-{number}.service"),
            Priority::Low,
            30,
        );
    }
    let decision = decide(
        &host,
        &config("[strategies]\nactions_per_minute = 7"),
        &mut StrategyState::default(),
        NOW,
    );
    let last = decision
        .strategies
        .iter()
        .find(|strategy| strategy.reason.contains("next minute"));
    assert!(
        last.is_some_and(|strategy| strategy.reason.starts_with("3 more steps wait")),
        "{last:?}"
    );
}

#[test]
fn the_daily_ceiling_is_kept() {
    let mut host = usual(70);
    host.outlook = Some(Outlook {
        earliest: 60,
        latest: 120,
    });
    let config = config("[proactive]\nenabled = true\ndaily = '200M'");
    let mut state = StrategyState::default();
    let mut taken = 0;
    for second in 0..3600 {
        let decision = decide(&host, &config, &mut state, later(second));
        carry_out(&decision, &mut state, later(second));
        for step in decision.strategies.iter().filter(|step| step.takes()) {
            assert!(matches!(
                step.unit.as_deref(),
                Some("batch.service" | "indexer.service")
            ));
            if step.action != StrategyAction::ReleaseRequest {
                let asked = step.amount.expect("an amount");
                taken += asked;
                state.ended(
                    step.unit.as_deref().expect("a unit"),
                    step.action,
                    asked,
                    asked,
                    later(second),
                );
            }
        }
    }
    assert!((190 * MIB..=200 * MIB).contains(&taken), "{taken}");
}

#[test]
fn a_unit_under_pressure_is_left_alone_ahead_of_need() {
    let mut host = usual(70);
    host.outlook = Some(Outlook {
        earliest: 60,
        latest: 120,
    });
    for name in ["batch.service", "indexer.service"] {
        unit_mut(&mut host, name).pressure = Some(super::build::pressure(2.1));
    }
    let config = config("[proactive]\nenabled = true\npressure = 20");
    assert_eq!(takes(&host, &config, &mut StrategyState::default(), NOW), []);
}

#[test]
fn the_end_of_an_episode_forgets_who_was_asked() {
    let (config, mut state) = (Config::default(), StrategyState::default());
    takes(&usual(92), &config, &mut state, NOW);
    assert_eq!(takes(&usual(50), &config, &mut state, later(60)), []);
    let again = takes(&usual(92), &config, &mut state, later(120));
    assert!(
        again
            .iter()
            .all(|step| step.action == StrategyAction::ReleaseRequest)
            && !again.is_empty()
    );
}

#[test]
fn state_survives_being_written_down() {
    let (host, config, mut state) = (usual(95), Config::default(), StrategyState::default());
    takes(&host, &config, &mut state, NOW);
    let text = serde_json::to_string(&state).expect("it can be written");
    let mut back: StrategyState = serde_json::from_str(&text).expect("and read");
    assert_eq!(back, state);
    assert_eq!(
        totals(&decide(&host, &config, &mut back, later(6))),
        totals(&decide(&host, &config, &mut state, later(6)))
    );
}
