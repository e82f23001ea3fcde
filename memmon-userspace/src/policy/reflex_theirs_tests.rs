//! What others have done to a unit's limits, and what a restart has.

use super::*;

#[test]
fn what_somebody_else_set_meanwhile_is_kept_as_long_as_it_is_there() {
    let theirs = State {
        theirs: Some(Limit::Bytes(100 * MIB)),
        ..State::default()
    };
    let answer = |snapshot: &Snapshot| decide(snapshot, &reaction(OnCriticalSwap::Auto), &theirs, NOW);
    let mut snapshot = with(kswapd());
    assert_eq!(names(&answer(&snapshot)), ["protect"]);
    snapshot.chain[0].swap = Some(SwapLevel {
        max: Limit::Bytes(100 * MIB),
        current: 12 * MIB,
    });
    let decision = answer(&snapshot);
    assert_eq!(names(&decision), ["none"]);
    assert!(decision.actions[0].reason.contains("somebody else"));
}

#[test]
fn a_lease_on_the_cgroup_before_the_restart_does_not_count() {
    let mut leased = lease(
        Property::MemorySwapMax,
        Limit::Max,
        Limit::Bytes(0),
        OnCriticalSwap::Auto,
    );
    leased.cgroup_id = 12;
    let decision = decide(
        &with(kswapd()),
        &reaction(OnCriticalSwap::Auto),
        &state(vec![leased]),
        NOW,
    );
    assert_eq!(names(&decision), ["protect"]);
}
