use std::time::Duration;

use tokio::time::timeout;

use super::fake::{Bus, FakeSystemd, FakeUnit};
use super::*;

struct Setup {
    systemd: FakeSystemd,
    bus: Bus,
    dir: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let bus = Bus::start(dir.path());
        let systemd = FakeSystemd::start(dir.path(), &bus.address).await;
        Self { systemd, bus, dir }
    }

    fn watch(&self) -> mpsc::Receiver<SystemdEvent> {
        let options = SystemdOptions {
            address: Some(self.bus.address.clone()),
            host: self.dir.path().to_owned(),
        };
        watch(options).expect("booted with systemd")
    }
}

async fn next(events: &mut mpsc::Receiver<SystemdEvent>) -> SystemdEvent {
    timeout(Duration::from_secs(30), events.recv())
        .await
        .expect("an event in time")
        .expect("the task runs")
}

async fn snapshot(events: &mut mpsc::Receiver<SystemdEvent>) -> Vec<UnitInfo> {
    match next(events).await {
        SystemdEvent::Snapshot { version, units } => {
            assert_eq!(version, "257.7-fake");
            units
        }
        other => panic!("expected a snapshot, got {other:?}"),
    }
}

fn active(control_group: &str) -> FakeUnit {
    FakeUnit {
        control_group: control_group.to_owned(),
        state: "active",
        ..FakeUnit::default()
    }
}

#[tokio::test]
async fn a_snapshot_has_what_a_path_cannot_tell() {
    let setup = Setup::new().await;
    let systemd = &setup.systemd;
    systemd.write_file(
        "/usr/lib/systemd/system/a.service",
        "[Unit]\nX-MemmonPriority=critical\n",
    );
    systemd.write_file(
        "/etc/systemd/system/a.service.d/10.conf",
        "[Unit]\nX-MemmonPriority=high\n",
    );
    systemd.write_file(
        "/run/systemd/system/a.service.d/20.conf",
        "[Unit]\nX-MemmonPriority=whatever\n",
    );
    let unit = FakeUnit {
        aliases: vec!["z.service".to_owned(), "b.service".to_owned()],
        delegate: true,
        fragment: "/usr/lib/systemd/system/a.service".to_owned(),
        drop_ins: vec![
            "/etc/systemd/system/a.service.d/10.conf".to_owned(),
            "/run/systemd/system/a.service.d/20.conf".to_owned(),
            "/run/systemd/system/a.service.d/gone.conf".to_owned(),
        ],
        ..active("/system.slice/a.service")
    };
    systemd.load("a.service", unit).await;
    systemd
        .load(
            "idle.service",
            FakeUnit {
                state: "inactive",
                ..FakeUnit::default()
            },
        )
        .await;
    systemd.load("x.timer", active("")).await;
    let units = snapshot(&mut setup.watch()).await;
    assert_eq!(units.len(), 1, "{units:?}");
    let UnitInfo {
        name,
        aliases,
        control_group,
        delegated,
        declared,
        problems,
    } = &units[0];
    assert_eq!(
        (name.as_str(), aliases.join(" ")),
        ("a.service", "b.service z.service".to_owned())
    );
    assert_eq!(control_group.as_deref(), Some("/system.slice/a.service"));
    assert_eq!((*delegated, *declared), (true, Some(Priority::High)));
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("/run/systemd/system/a.service.d/20.conf:2: "),
        "{problems:?}"
    );
}

#[tokio::test]
async fn units_come_and_go() {
    let setup = Setup::new().await;
    let mut events = setup.watch();
    assert_eq!(snapshot(&mut events).await, []);
    setup.systemd.load("new.service", active("")).await;
    // A device is announced as well, and of no interest.
    setup.systemd.say_new("dev-sda.device").await;
    setup.systemd.say_new("new.service").await;
    let expected = UnitInfo {
        name: "new.service".to_owned(),
        ..UnitInfo::default()
    };
    assert_eq!(next(&mut events).await, SystemdEvent::Unit(expected));
    setup.systemd.unload("new.service").await;
    setup.systemd.say_removed("new.service").await;
    assert_eq!(
        next(&mut events).await,
        SystemdEvent::Removed("new.service".to_owned())
    );
}

#[tokio::test]
async fn a_signal_that_is_out_of_date_does_not_count() {
    let setup = Setup::new().await;
    let mut events = setup.watch();
    snapshot(&mut events).await;
    setup.systemd.load("a.service", active("")).await;
    // Restarted: removed, and new at once. What systemd answers now is what counts.
    setup.systemd.say_removed("a.service").await;
    assert!(matches!(next(&mut events).await, SystemdEvent::Unit(info) if info.name == "a.service"));
    setup.systemd.say_new("gone.service").await;
    assert_eq!(
        next(&mut events).await,
        SystemdEvent::Removed("gone.service".to_owned())
    );
}

#[tokio::test]
async fn after_a_reload_everything_is_asked_again() {
    let setup = Setup::new().await;
    let file = "/etc/systemd/system/a.service";
    setup.systemd.write_file(file, "[Unit]\nX-MemmonPriority=low\n");
    let unit = FakeUnit {
        fragment: file.to_owned(),
        ..active("/a.service")
    };
    setup.systemd.load("a.service", unit).await;
    let mut events = setup.watch();
    assert_eq!(snapshot(&mut events).await[0].declared, Some(Priority::Low));
    setup
        .systemd
        .write_file(file, "[Unit]\nX-MemmonPriority=medium\n");
    setup.systemd.say_reloading(true).await;
    assert_eq!(next(&mut events).await, SystemdEvent::Reloading(true));
    setup.systemd.say_reloading(false).await;
    assert_eq!(next(&mut events).await, SystemdEvent::Reloading(false));
    assert_eq!(snapshot(&mut events).await[0].declared, Some(Priority::Medium));
    assert_eq!(
        setup.systemd.state().repeated,
        1,
        "subscribed again, and that was no error"
    );
}

#[tokio::test]
async fn systemd_may_leave_the_bus_and_come_back() {
    let setup = Setup::new().await;
    let mut events = setup.watch();
    snapshot(&mut events).await;
    setup.systemd.disappear().await;
    assert!(matches!(next(&mut events).await, SystemdEvent::Lost(reason) if reason.contains("left the bus")));
    setup.systemd.load("a.service", active("/a.service")).await;
    setup.systemd.appear().await;
    assert_eq!(snapshot(&mut events).await.len(), 1);

    setup.systemd.disappear().await;
    let mut late = setup.watch();
    assert!(matches!(next(&mut late).await, SystemdEvent::Lost(reason) if reason.contains("not on the bus")));
    setup.systemd.appear().await;
    assert_eq!(snapshot(&mut late).await.len(), 1);
}

#[tokio::test]
async fn the_bus_may_die_and_come_back() {
    let Setup { systemd, bus, dir } = Setup::new().await;
    let setup = Setup { systemd, bus, dir };
    let mut events = setup.watch();
    snapshot(&mut events).await;
    let Setup { bus, dir, .. } = setup;
    drop(bus);
    let SystemdEvent::Lost(reason) = next(&mut events).await else {
        panic!("nothing was lost")
    };
    assert!(reason.contains("trying again in 500ms"), "{reason}");
    let bus = Bus::start(dir.path());
    let systemd = FakeSystemd::start(dir.path(), &bus.address).await;
    systemd.load("a.service", active("/a.service")).await;
    loop {
        match next(&mut events).await {
            // An attempt may have come before the new bus, or between the bus and its systemd; and the snapshot
            // before the unit.
            SystemdEvent::Lost(_) => {}
            SystemdEvent::Snapshot { .. } => break,
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_storm_of_signals_neither_blocks_nor_loses_the_last_word() {
    let setup = Setup::new().await;
    let mut events = setup.watch();
    snapshot(&mut events).await;
    setup.systemd.load("last.service", active("/last.service")).await;
    let storm = async {
        for n in 0..3000 {
            setup.systemd.say_new(&format!("run-u{n}.service")).await;
        }
        setup.systemd.say_new("last.service").await;
    };
    let listen = async {
        loop {
            match next(&mut events).await {
                SystemdEvent::Unit(info) if info.name == "last.service" => break,
                // Asked about all because too many were waiting; the one we look for is among them.
                SystemdEvent::Snapshot { units, .. } if units.iter().any(|u| u.name == "last.service") => {
                    break;
                }
                SystemdEvent::Snapshot { .. } | SystemdEvent::Removed(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    tokio::join!(storm, listen);
}

#[tokio::test]
async fn the_task_ends_with_its_receiver() {
    let setup = Setup::new().await;
    let mut events = setup.watch();
    snapshot(&mut events).await;
    let running = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = running();
    drop(events);
    let fewer = async {
        while running() >= before {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), fewer)
        .await
        .expect("the task ends");
}

#[tokio::test]
async fn a_host_without_systemd_says_so() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let options = SystemdOptions {
        address: None,
        host: dir.path().to_owned(),
    };
    let error = watch(options).expect_err("nothing is booted here").to_string();
    assert!(error.contains("systemd is not the init system here"), "{error}");
}
