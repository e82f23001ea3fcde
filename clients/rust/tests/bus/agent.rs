//! Against an agent on a bus of its own.

use std::{panic, time::Duration};

use crate::fake::{Agent, Bus, Event, wait_for};
use memmon_client::{protect, protected_bytes, use_bus};

const LONG: Duration = Duration::from_secs(20);

/// A service that is started as root and gives it up, as many do.
#[test]
fn connects_again_after_a_change_of_user() {
    // SAFETY: always.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root may change its user");
        return;
    }
    let bus = Bus::start();
    let agent = Agent::start(&bus, "");
    let in_child = || {
        use_bus(&bus.address);
        let buffer = vec![0u8; 9000];
        let first = protect(&buffer, "as root").expect("usable");
        wait_for("it is registered", || first.status().tagged);
        // SAFETY: takes and changes no memory.
        let changed = unsafe { libc::setuid(65_534) } == 0;
        let second = protect(&buffer, "as nobody").expect("usable");
        wait_for("both are registered", || {
            first.status().tagged && second.status().tagged
        });
        changed
    };
    // SAFETY: glibc keeps its allocator usable in the child, which uses nothing else that threads share, and ends
    // without running the parent's destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let good = panic::catch_unwind(in_child).unwrap_or(false);
        // SAFETY: always.
        unsafe { libc::_exit(if good { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: status is an int for the kernel to write to.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "all is registered, as root and as nobody");
    assert_eq!(agent.event().label, "as root");
    assert!(agent.event().untag, "the first connection's");
    let mut labels = [agent.event().label, agent.event().label];
    labels.sort_unstable();
    assert_eq!(labels, ["as nobody", "as root"]);
}

// One test, because the connection is one per process.
#[test]
fn registrations_follow_agent_and_bus() {
    let mut bus = Bus::start();
    use_bus(&bus.address);

    // Nobody is there yet.
    let buffers: Vec<Vec<u8>> = (0..20).map(|_| vec![0u8; 3 * 4096]).collect();
    let label = |number: usize| format!("b{number}");
    let mut guards: Vec<_> = buffers
        .iter()
        .enumerate()
        .map(|(number, buffer)| protect(buffer, &label(number)).expect("usable"))
        .collect();
    assert!(!guards[0].wait_tagged(LONG));
    let status = guards[0].status();
    assert!(
        status.locked && status.refused[0].contains("no memmon agent is running"),
        "{status:?}"
    );

    // It comes.
    let first = Agent::start(&bus, "");
    let mut seen: Vec<Event> = (0..20).map(|_| first.event()).collect();
    seen.sort_by_key(|event| event.start);
    let mut expected: Vec<(u64, u64)> = guards
        .iter()
        .map(|guard| (guard.ranges()[0].start as u64, guard.ranges()[0].len() as u64))
        .collect();
    expected.sort_unstable();
    assert_eq!(
        seen.iter()
            .map(|event| (event.start, event.len))
            .collect::<Vec<_>>(),
        expected
    );
    assert!(
        guards
            .iter()
            .all(|guard| guard.wait_tagged(LONG) && guard.status().tagged)
    );

    // One is taken back.
    let gone = guards.remove(3);
    let id = seen
        .iter()
        .find(|event| event.label == "b3")
        .expect("registered")
        .id;
    drop(gone);
    let event = first.event();
    assert!(event.untag && event.id == id, "{event:?}");

    // It goes, and another comes.
    drop(first);
    wait_for("the loss is noticed", || {
        !guards.iter().any(|guard| guard.status().tagged)
    });
    assert!(guards.iter().all(|guard| guard.status().locked));
    drop(guards.remove(0));
    let mut second = Agent::start(&bus, "");
    let mut labels: Vec<String> = (0..18).map(|_| second.event().label).collect();
    labels.sort_unstable();
    let mut expected: Vec<String> = guards.iter().map(|guard| guard.label().to_owned()).collect();
    expected.sort_unstable();
    assert_eq!(labels, expected);
    assert!(guards.iter().all(|guard| guard.wait_tagged(LONG)));

    // Only the bus goes: the agent comes back with all it knows, and nothing is doubled or left.
    assert_eq!(second.tags(), 18);
    bus.stop();
    wait_for("the loss is noticed", || !guards[0].status().tagged);
    drop(guards.remove(0));
    bus.restart();
    second.connect(&bus);
    for _ in 0..18 {
        let event = second.event();
        assert!(event.untag, "taken back before anything is registered: {event:?}");
    }
    assert!(guards.iter().all(|guard| guard.wait_tagged(LONG)));
    let again: Vec<String> = (0..17).map(|_| second.event().label).collect();
    assert!(
        guards
            .iter()
            .all(|guard| again.contains(&guard.label().to_owned()))
    );
    assert_eq!(second.tags(), 17);
    drop(guards.remove(0));
    assert!(second.event().untag);
    assert_eq!(second.tags(), 16);

    // Another comes, and refuses.
    drop(second);
    wait_for("the loss is noticed", || !guards[0].status().tagged);
    let third = Agent::start(&bus, "1024 regions are the most");
    wait_for("the refusal", || {
        guards[0].status().refused == ["not tagged: 1024 regions are the most"]
    });
    assert!(guards.iter().all(|guard| guard.status().locked));
    drop(third);
    drop(guards);
    assert_eq!(protected_bytes(), 0);
}
