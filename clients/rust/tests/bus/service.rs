//! The example service, in a process of its own, with an agent and with memory pressure.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use crate::fake::{Agent, Bus, wait_for};
use serde_json::Value;

struct Service {
    process: Child,
    socket: PathBuf,
}

impl Service {
    /// Cargo builds examples next to the tests.
    fn start(dir: &Path, bus: &Bus, watch: &Path) -> Self {
        let test = env::current_exe().expect("a path");
        let program = test
            .parent()
            .and_then(Path::parent)
            .expect("target/PROFILE")
            .join("examples/service");
        let socket = dir.join("service.sock");
        let process = Command::new(&program)
            .arg(&socket)
            .args(["4", "1"])
            .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address)
            .env("MEMORY_PRESSURE_WATCH", watch)
            .env_remove("MEMORY_PRESSURE_WRITE")
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let service = Self { process, socket };
        wait_for("it listens", || UnixStream::connect(&service.socket).is_ok());
        service
    }

    fn tell(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("it listens");
        writeln!(stream, "{request}").expect("sent");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("an answer");
        answer
            .trim_end()
            .strip_prefix("ok")
            .expect(&answer)
            .trim_start()
            .to_owned()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.tell("status")).expect("JSON")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn labels(status: &Value) -> Vec<&str> {
    let guards = status["guards"].as_array().expect("guards");
    guards
        .iter()
        .filter_map(|guard| guard["label"].as_str())
        .collect()
}

#[test]
fn protects_registers_and_releases() {
    let (bus, dir) = (Bus::start(), tempfile::tempdir().expect("a directory"));
    let agent = Agent::start(&bus, "");
    let fifo = dir.path().join("pressure");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    let service = Service::start(dir.path(), &bus, &fifo);
    assert_eq!(agent.event().label, "index");

    for text in 0..150 {
        service.tell(&format!("embed {text}"));
    }
    let status = service.status();
    assert_eq!(
        labels(&status)
            .iter()
            .filter(|label| **label == "history")
            .count(),
        100
    );
    assert!(labels(&status).contains(&"model"));
    let guards = status["guards"].as_array().expect("guards");
    assert!(guards.iter().all(|guard| guard["locked"] == true), "{status}");
    wait_for("all are registered", || {
        let status = service.status();
        status["guards"]
            .as_array()
            .expect("guards")
            .iter()
            .all(|guard| guard["tagged"] == true)
    });
    wait_for("the model is let go", || {
        !labels(&service.status()).contains(&"model")
    });

    assert_eq!(status["cached"], 150);
    fs::write(&fifo, "!").expect("written");
    wait_for("the cache is given up", || service.status()["cached"] == 0);
    assert_eq!(service.status()["released"], 1);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", service.process.id())).expect("its cgroup");
    let unit = own
        .lines()
        .flat_map(|line| line.split('/'))
        .rfind(|part| part.ends_with(".scope"));
    let unit = unit.or_else(|| {
        own.lines()
            .flat_map(|line| line.split('/'))
            .rfind(|part| part.ends_with(".service"))
    });
    if let Some(unit) = unit {
        service.tell("embed once more");
        agent.request_release("somebody-else.service", 1);
        agent.request_release(unit, 1 << 20);
        wait_for("the agent's request", || service.status()["released"] == 2);
        assert_eq!(service.status()["cached"], 0);
    }
    assert_eq!(service.tell("verify"), "intact");
}
