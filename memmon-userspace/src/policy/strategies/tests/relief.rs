//! A slice's limit pushes out pages of a critical unit in it, while RAM has room.

use super::build::{
    MIB, NOW, add, after_grace, carry_out, cgroup_mut, config, decide, fresh, later, unit_mut, usual,
};
use crate::config::{Config, Priority};
use crate::decode::Limit;
use crate::policy::strategies::{HostDecision, StrategyAction, StrategyState, Target};
use crate::policy::{HostSnapshot, MonoTime};

const MODEL: &str = "model.service";

/// Half of RAM is free. `ai.slice` is 10 MiB below its limit, and its critical unit has just lost a page.
fn pressed() -> HostSnapshot {
    let mut host = usual(50);
    for (name, priority, current) in [
        (MODEL, Priority::Critical, 1000),
        ("train.service", Priority::Low, 30),
        ("serve.service", Priority::Medium, 300),
        ("web.service", Priority::High, 300),
    ] {
        add(&mut host, "/ai.slice", name, priority, current);
    }
    cgroup_mut(&mut host, "/ai.slice").max = Limit::Bytes(1640 * MIB);
    unit_mut(&mut host, MODEL).last_critical = Some(NOW);
    host
}

/// Whom something is asked of or taken from.
fn givers(decision: &HostDecision) -> Vec<&str> {
    let takes = decision.strategies.iter().filter(|strategy| strategy.takes());
    let mut units: Vec<&str> = takes.filter_map(|strategy| strategy.unit.as_deref()).collect();
    units.dedup();
    units
}

#[test]
fn who_shares_the_limit_is_asked_first_low_before_medium_and_nobody_else() {
    let decision = fresh(&pressed());
    assert_eq!(givers(&decision), ["train.service", "serve.service"]);
    for strategy in decision.strategies.iter().filter(|strategy| strategy.takes()) {
        assert_eq!(strategy.action, StrategyAction::ReleaseRequest);
        assert!(
            strategy.reason.contains("model.service") && strategy.reason.contains("of /ai.slice"),
            "{strategy:?}"
        );
    }
}

#[test]
fn after_the_grace_as_much_is_taken_as_auto_asks_for() {
    let decision = after_grace(&pressed());
    let taken = decision
        .strategies
        .iter()
        .filter(|strategy| matches!(strategy.target, Target::Reclaim { .. }));
    let taken: u64 = taken.filter_map(|strategy| strategy.amount).sum();
    // 64 MiB are asked for and 10 there.
    assert!((53 * MIB..=54 * MIB).contains(&taken), "{taken}");
    assert_eq!(givers(&decision), ["train.service", "serve.service"]);
}

#[test]
fn nothing_is_taken_where_it_would_not_help() {
    let gives = |change: &dyn Fn(&mut HostSnapshot)| {
        let mut host = pressed();
        change(&mut host);
        !givers(&fresh(&host)).is_empty()
    };
    assert!(gives(&|_| {}));
    // Nothing was lost, or long ago.
    assert!(!gives(&|host| unit_mut(host, MODEL).last_critical = None));
    assert!(!gives(
        &|host| unit_mut(host, MODEL).last_critical = Some(MonoTime(0))
    ));
    // The unit's own limit is nearer.
    assert!(!gives(
        &|host| cgroup_mut(host, "/ai.slice/model.service").max = Limit::Bytes(1001 * MIB)
    ));
    // The limit leaves room.
    assert!(!gives(
        &|host| cgroup_mut(host, "/ai.slice").max = Limit::Bytes(1800 * MIB)
    ));
}

#[test]
fn tagged_units_count_from_medium_on() {
    let gives = |priority| {
        let mut host = pressed();
        let unit = unit_mut(&mut host, MODEL);
        (unit.priority, unit.tagged) = (priority, true);
        givers(&fresh(&host)).contains(&"train.service")
    };
    assert_eq!([Priority::Medium, Priority::High].map(gives), [true, true]);
    assert!(!gives(Priority::Observe));
}

#[test]
fn alarm_only_takes_nothing() {
    let config = config("[reaction]\non_critical_swap = \"alarm-only\"\n");
    let decision = decide(&pressed(), &config, &mut StrategyState::default(), NOW);
    assert!(givers(&decision).is_empty(), "{decision:?}");
}

#[test]
fn where_nobody_shares_the_limit_that_is_told() {
    let mut host = pressed();
    for name in ["train.service", "serve.service"] {
        unit_mut(&mut host, name).priority = Priority::Observe;
    }
    let decision = fresh(&host);
    assert!(givers(&decision).is_empty(), "{decision:?}");
    let told = decision.strategies.iter().any(|strategy| {
        strategy.action == StrategyAction::None
            && strategy.reason.contains("memory.max 1640.0 MiB of /ai.slice")
    });
    assert!(told, "{decision:?}");
}

#[test]
fn it_is_no_taking_ahead_and_those_who_were_asked_stay_so() {
    let (host, config, mut state) = (pressed(), Config::default(), StrategyState::default());
    carry_out(&decide(&host, &config, &mut state, NOW), &mut state, NOW);
    assert!(!state.is_ahead());
    assert_eq!(
        state.look_again(&(&config).into(), later(1)),
        Some(later(5)),
        "the end of the grace is a reason to look"
    );
    let daily = state.left_today(&(&config).into());
    carry_out(
        &decide(&host, &config, &mut state, later(6)),
        &mut state,
        later(6),
    );
    assert_eq!(state.left_today(&(&config).into()), daily);
}
