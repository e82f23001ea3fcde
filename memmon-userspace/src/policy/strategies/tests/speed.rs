//! A decision about 500 units takes less than a millisecond, also in a build without optimisation by far less
//! than a tick.

use super::build::{add, after_grace, host};
use crate::config::{Config, Priority};
use crate::policy::strategies::{Rules, StrategyState, strategies};
use crate::policy::{HostSnapshot, MonoTime};

fn five_hundred() -> HostSnapshot {
    let mut host = host(95);
    let priorities = [
        Priority::Observe,
        Priority::Low,
        Priority::Medium,
        Priority::High,
        Priority::Critical,
    ];
    for number in 0..500 {
        let slice = format!("/app.slice/app-{}.slice", number % 20);
        let priority = priorities[number % priorities.len()];
        add(
            &mut host,
            &slice,
            &format!("unit-{number}.service"),
            priority,
            10 + number as u64 % 7,
        );
    }
    host
}

#[test]
fn five_hundred_units_are_decided_in_linear_time() {
    let host = five_hundred();
    let decision = after_grace(&host);
    assert!(decision.strategies.len() > 100, "{}", decision.strategies.len());
    let (config, mut state) = (Config::default(), StrategyState::default());
    let rules = Rules::from(&config);
    state.observe(&host, &rules, MonoTime(1));
    let mut best = std::time::Duration::MAX;
    for _ in 0..20 {
        let start = std::time::Instant::now();
        let decision = strategies(&host, &rules, &state, MonoTime(1));
        best = best.min(start.elapsed());
        assert!(!decision.strategies.is_empty());
    }
    eprintln!("500 units: {best:?}");
    // The requirement is 1 ms, optimised (docs/benchmarks.md); unoptimised code on a busy machine is 20 times slower.
    assert!(
        best < std::time::Duration::from_millis(if cfg!(debug_assertions) { 50 } else { 1 }),
        "{best:?}"
    );
}
