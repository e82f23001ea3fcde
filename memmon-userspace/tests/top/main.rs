//! `memmon top` in a real terminal, beside an agent that says what it is told to.
//!
//! With `MEMMON_SCREENS=DIR` the screens are written there: docs/screens is made so.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bus;
mod documents;
mod terminal;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use memmon::source::cgroup_tree::CgroupTree;
use serde_json::json;
use tempfile::TempDir;

use self::{
    bus::{Agent, Bus, Signal},
    documents::report,
    terminal::Terminal,
};

const MEMMON: &str = env!("CARGO_BIN_EXE_memmon");
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (132, 43);

/// A bus, an agent, and a terminal.
struct Rig {
    terminal: Terminal,
    agent: Option<Agent>,
    bus: Bus,
    _dir: TempDir,
}

impl Rig {
    fn new(size: (u16, u16), variables: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let bus = Bus::start(dir.path());
        let agent = Agent::start(&bus, &report(0));
        let common = [
            ("DBUS_SYSTEM_BUS_ADDRESS", bus.address.as_str()),
            ("LC_ALL", "C.UTF-8"),
            ("MEMMON", MEMMON),
        ];
        let terminal = Terminal::open(dir.path(), size, &[common.as_slice(), variables].concat());
        Self {
            terminal,
            agent: Some(agent),
            bus,
            _dir: dir,
        }
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    /// Starts the program and waits for the first report.
    fn start(&self) {
        self.terminal.line("\"$MEMMON\" top --interval 0.2");
        self.terminal.wait("backup.service");
    }

    /// Has the agent go on from step to step until the screen shows `text`.
    fn play(&self, steps: std::ops::Range<u64>, text: &str) -> String {
        for step in steps {
            let asked = self.agent().asked();
            self.agent().says(&report(step));
            let deadline = Instant::now() + Duration::from_secs(60);
            // Once for the report that may be on its way already.
            while self.agent().asked() < asked + 2 {
                assert!(Instant::now() < deadline, "nobody asks");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.terminal.wait(text)
    }

    /// Quits, and sees that the terminal is as before.
    fn quit(&self) {
        self.terminal.press(&["q"]);
        self.ended(0);
    }

    /// It has ended with this status, and the terminal is as before.
    fn ended(&self, status: i32) {
        let screen = self.terminal.prompt(status);
        assert!(
            screen.contains("top --interval"),
            "the lines of before are back:\n{screen}"
        );
        assert_eq!(self.terminal.property("alternate_on"), "0");
        assert_eq!(self.terminal.property("cursor_flag"), "1");
    }

    /// Sends the program a signal.
    fn kill(&self, signal: &str) {
        let shell = self.terminal.property("pane_pid");
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let child = children.split_whitespace().next().unwrap();
        let killed = Command::new("kill").args([&format!("-{signal}"), child]).status();
        assert!(killed.unwrap().success());
    }
}

/// A rig, unless there is no tmux.
macro_rules! rig {
    ($size:expr, $variables:expr) => {
        if terminal::is_there() {
            Rig::new($size, $variables)
        } else {
            return;
        }
    };
}

#[test]
fn what_a_user_sees_in_a_small_terminal() {
    let rig = rig!(SMALL, &[]);
    rig.start();
    let screen = rig.play(1..3, "situation high");
    assert!(
        screen.contains("no alarm") && screen.contains("RAM ["),
        "{screen}"
    );
    rig.agent().tells(Signal::Raised {
        id: "2f1c3a9d77-1",
        unit: "omnimind.service",
        reason: "3 pages of omnimind.service went to swap: backup.service reclaims directly",
    });
    rig.agent().tells(Signal::Limit {
        unit: "omnimind.service",
        new: 0,
        reason: "3 pages were swapped out by direct reclaim of backup.service",
    });
    rig.agent().plays(3);
    rig.terminal.wait("1 ALARM");
    rig.terminal.linger();
    // The backup goes on losing pages.
    let screen = rig.terminal.until("rates", |screen| {
        let row = screen.lines().find(|line| line.starts_with("   backup.service"));
        row.and_then(|row| row.split_whitespace().nth(4))
            .is_some_and(|rate| rate != "0" && rate != "-")
    });
    assert!(screen.contains("! CRITICAL omnimind.service"), "{screen}");
    let rows: Vec<&str> = screen.lines().filter(|line| line.contains(".service ")).collect();
    assert!(
        rows.iter().any(|row| row.starts_with("!L omnimind.service")),
        "the unit with the alarm is marked:\n{screen}"
    );
    let place = |name: &str| screen.find(&format!("{name} ")).expect(name);
    assert!(
        place("!L omnimind.service") < place("backup.service"),
        "alarms first:\n{screen}"
    );
    assert!(screen.lines().count() == 24 && screen.lines().all(|line| line.chars().count() <= 80));
    rig.terminal.record("top-units");

    rig.terminal.press(&["2"]);
    let screen = rig.terminal.wait("BY");
    assert!(
        screen.contains("direct    omnimind-frontend.service") && screen.contains("DONE AND PROPOSED"),
        "{screen}"
    );
    rig.terminal.record("top-blame");

    rig.terminal.press(&["4"]);
    let screen = rig.terminal.wait("ALARM critical omnimind.service");
    assert!(
        screen.contains("MemorySwapMax of omnimind.service: max -> 0"),
        "{screen}"
    );
    assert!(screen.contains("by backup.service (direct)"), "{screen}");
    assert!(screen.contains("situation high, was normal"), "{screen}");
    rig.terminal.record("top-events");

    rig.terminal.press(&["1", "Home", "Enter"]);
    let screen = rig.terminal.wait("TAGGED REGIONS");
    assert!(
        screen.contains("omnimind.service, critical, /system.slice/omnimind.service"),
        "{screen}"
    );
    assert!(
        screen.contains("embeddings") && screen.contains("LEASE MemorySwapMax max -> 0"),
        "{screen}"
    );
    rig.terminal.record("top-unit");

    rig.terminal.press(&["?"]);
    rig.terminal.wait("Ctrl-Z");
    rig.terminal.record("top-help");
    rig.terminal.press(&["Escape"]);
    rig.terminal.wait("TAGGED REGIONS");

    // The alarm is over, and told once only.
    rig.agent().tells(Signal::Cleared("2f1c3a9d77-1"));
    rig.agent().says(&report(2));
    rig.terminal.press(&["4"]);
    rig.terminal.wait("no alarm");
    let screen = rig.terminal.wait("alarm over: omnimind.service");
    assert_eq!(screen.matches("ALARM critical").count(), 1, "{screen}");
    rig.quit();
}

#[test]
fn what_a_user_sees_in_a_large_terminal() {
    let rig = rig!(LARGE, &[]);
    rig.start();
    let screen = rig.play(1..8, "1 ALARM");
    assert!(
        screen.contains("LEASES") && screen.contains("MemorySwapMax"),
        "{screen}"
    );
    rig.terminal.record("top-units-wide");
    rig.terminal.resize(SMALL);
    rig.terminal.until("the narrow columns", |screen| {
        screen.contains("UNIT") && !screen.contains("LEASES") && screen.contains("q quit")
    });
    rig.terminal.resize((30, 6));
    rig.terminal.wait("needs 40 columns");
    rig.terminal.resize(LARGE);
    rig.terminal.wait("LEASES");
    rig.quit();
}

#[test]
fn the_page_of_a_unit_shows_its_processes() {
    let Ok(tree) = CgroupTree::discover(Path::new("/")) else {
        println!("skipped: no cgroup tree");
        return;
    };
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = memmon::decode::process::cgroup(&text, tree.hierarchy, "memory").unwrap();
    let rig = rig!(LARGE, &[]);
    rig.start();
    let mut document = report(1);
    document["units"][9]["cgroup"] = json!(own);
    rig.agent().says(&document);
    rig.terminal.press(&["/"]);
    rig.terminal.line("session");
    rig.terminal.wait("1 of 12 units");
    rig.terminal.press(&["Home", "Enter"]);
    // Its own process is among them, if not all are too many.
    rig.terminal.until("processes", |screen| {
        let rows = screen.lines().skip_while(|line| !line.starts_with("PROCESSES"));
        let rows: Vec<&str> = rows.skip(2).collect();
        rows.iter().any(|row| {
            row.split_whitespace()
                .next()
                .is_some_and(|pid| pid.parse::<u32>().is_ok())
        })
    });
    rig.quit();
}

#[test]
fn filter_sort_and_pause() {
    let rig = rig!(SMALL, &[]);
    rig.start();
    rig.terminal.press(&["/"]);
    rig.terminal.line("OMNI");
    let screen = rig.terminal.wait("4 of 12 units");
    assert!(!screen.contains("backup.service "), "{screen}");
    rig.terminal.press(&["Escape"]);
    rig.terminal.wait("12 units");
    let order = |screen: &str| -> Vec<String> {
        let rows = screen
            .lines()
            .skip_while(|line| !line.contains("PRIORITY"))
            .skip(1);
        rows.filter_map(|row| row.get(3..)?.split_whitespace().next().map(str::to_owned))
            .take(3)
            .collect()
    };
    // Alarms, swap-outs, swap-ins, swap, memory, PSI, priority, name.
    rig.terminal.press(&["s", "s", "s", "s"]);
    let screen = rig.terminal.wait("by memory");
    assert_eq!(
        order(&screen),
        ["omnimind.service", "backup.service", "omnimind-core.service"]
    );
    rig.terminal.press(&["r"]);
    let screen = rig.terminal.wait("by memory, reversed");
    assert_eq!(order(&screen), ["cron.service", "dbus.service", "ssh.service"]);

    rig.terminal.press(&["p"]);
    rig.terminal.wait("PAUSED");
    // One may be under way.
    std::thread::sleep(Duration::from_millis(400));
    let asked = rig.agent().asked();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(rig.agent().asked(), asked, "it asks although it is paused");
    rig.agent().tells(Signal::Cleared("2f1c3a9d77-1"));
    rig.terminal.press(&["Space"]);
    rig.terminal
        .until("no pause", |screen| !screen.contains("PAUSED"));
    rig.play(1..2, "situation normal");
    rig.quit();
}

#[test]
fn the_agent_is_asked_once_per_interval() {
    let rig = rig!(SMALL, &[]);
    rig.start();
    let (asked, started) = (rig.agent().asked(), Instant::now());
    // Neither keys nor signals nor views make it ask more.
    for key in ["2", "3", "4", "1", "Down", "Up", "s", "Tab"]
        .iter()
        .cycle()
        .take(60)
    {
        rig.terminal.press(&[key]);
        rig.agent().tells(Signal::Cleared("none"));
    }
    let most = started.elapsed().as_millis() / 200 + 2;
    let asked = (rig.agent().asked() - asked) as u128;
    assert!(asked > 0 && asked <= most, "{asked} times, at most {most}");
    rig.quit();
}

#[test]
fn the_agent_may_go_and_come_back() {
    let mut rig = rig!(SMALL, &[]);
    rig.start();
    rig.play(1..8, "1 ALARM");
    rig.agent().hangs();
    rig.terminal.wait("the agent has not answered for");
    drop(rig.agent.take());
    let screen = rig.terminal.wait("no agent is running");
    assert!(screen.contains("! NO REPORT for"), "{screen}");
    assert!(
        screen.contains("backup.service"),
        "what was known stays:\n{screen}"
    );
    rig.terminal.record("top-no-agent");

    // Another one, which has counted less.
    let mut fresh = report(0);
    fresh["agent"]["since"] = json!("2026-01-02T03:00:00.000000Z");
    fresh["units"][0]["swapout_pages"] = json!(null);
    rig.agent = Some(Agent::start(&rig.bus, &fresh));
    let screen = rig
        .terminal
        .until("the reports are back", |screen| !screen.contains("NO REPORT"));
    assert!(screen.contains("no alarm"), "{screen}");
    let row = |name: &str, screen: &str| {
        screen
            .lines()
            .find(|line| line.contains(name))
            .unwrap()
            .to_owned()
    };
    let screen = rig.terminal.until("rates from the second report on", |screen| {
        screen.contains("swapped out: 0 pages/s")
    });
    assert!(row("omnimind.service", &screen).contains("n/a"), "{screen}");
    assert!(!row("backup.service", &screen).contains('-'), "{screen}");
    rig.terminal.press(&["4"]);
    let screen = rig.terminal.wait("the agent answers again");
    assert!(screen.contains("has started: rates begin anew"), "{screen}");
    rig.quit();
}

#[test]
fn without_colour_nothing_is_lost() {
    let coloured = |screen: &str| {
        let codes = screen
            .split("\u{1b}[")
            .skip(1)
            .filter_map(|rest| rest.split('m').next());
        let numbers = codes
            .flat_map(|code| code.split(';'))
            .filter_map(|number| number.parse::<u8>().ok());
        numbers
            .filter(|number| matches!(number, 30..=38 | 40..=48 | 90..=107))
            .count()
    };
    let rig = rig!(SMALL, &[]);
    rig.start();
    rig.play(1..6, "1 ALARM");
    assert!(
        coloured(&rig.terminal.coloured()) > 0,
        "with colours there are some"
    );
    rig.quit();
    drop(rig);

    let rig = Rig::new(SMALL, &[("NO_COLOR", "1"), ("LC_ALL", "C")]);
    rig.start();
    let screen = rig.play(1..6, "1 ALARM");
    assert_eq!(
        coloured(&rig.terminal.coloured()),
        0,
        "{}",
        rig.terminal.coloured()
    );
    assert!(screen.is_ascii(), "{screen}");
    assert!(
        screen.contains("! CRITICAL omnimind.service") && screen.contains("!L omnimind.service"),
        "{screen}"
    );
    rig.terminal.record("top-no-colour");
    rig.quit();
}

#[test]
fn names_of_others_do_nothing_to_the_terminal() {
    let rig = rig!(SMALL, &[]);
    let title = rig.terminal.property("pane_title");
    rig.start();
    let mut nasty = report(5);
    nasty["units"][1]["unit"] = json!("evil\u{1b}]2;owned\u{7}\u{1b}[2J\r\n\u{202e}gnp.service");
    nasty["alarms"][0]["reason"] = json!("\u{1b}[31mred\u{9b}5m");
    nasty["regions"][0]["label"] = json!("\u{1b}c\u{8}\u{8}");
    rig.agent().says(&nasty);
    let screen = rig.terminal.wait("evil\u{fffd}]2;owned");
    assert!(screen.contains("\u{fffd}[31mred\u{fffd}5m"), "{screen}");
    rig.terminal.press(&["1", "Home", "Enter"]);
    rig.terminal.wait("\u{fffd}c\u{fffd}\u{fffd}");
    assert_eq!(rig.terminal.property("pane_title"), title);
    rig.quit();
}

#[test]
fn signals_and_suspension_give_the_terminal_back() {
    let rig = rig!(SMALL, &[]);
    rig.start();
    for way in ["the key", "the signal"] {
        if way == "the key" {
            rig.terminal.press(&["C-z"]);
        } else {
            rig.kill("TSTP");
        }
        // 128 and the number of SIGSTOP.
        let screen = rig.terminal.prompt(147);
        assert!(screen.contains("Stopped"), "{way}: {screen}");
        assert_eq!(rig.terminal.property("alternate_on"), "0", "{way}");
        // The shell is usable: it echoes.
        rig.terminal.line("clear; echo $((6 * 7)) is seen");
        rig.terminal.wait("42 is seen");
        rig.terminal.line("fg # top --interval");
        rig.terminal.wait("q quit");
        assert_eq!(rig.terminal.property("alternate_on"), "1", "{way}");
        rig.terminal.press(&["2"]);
        rig.terminal.wait("OF ");
        rig.terminal.press(&["1"]);
        rig.terminal.wait("PRIORITY");
    }
    // Stopped and continued from outside, when the shell has used the terminal.
    rig.kill("STOP");
    rig.terminal.press(&["Enter"]);
    rig.terminal.line("fg # top --interval");
    rig.terminal.press(&["C-l", "2"]);
    rig.terminal.until("the screen again", |screen| {
        screen.contains("OF ") && screen.contains("q quit")
    });
    rig.quit();

    for signal in ["TERM", "INT", "HUP"] {
        rig.terminal.line("clear");
        rig.start();
        rig.kill(signal);
        rig.ended(0);
    }
    rig.terminal.line("clear; echo $((6 * 9)) is seen");
    rig.terminal.wait("54 is seen");
}

#[test]
fn without_a_terminal_it_is_2_and_without_agent_and_root_4() {
    let dir = TempDir::new().unwrap();
    let output = Command::new(MEMMON)
        .arg("top")
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("no terminal") && text.contains("memmon report"),
        "{text}"
    );
    assert!(output.stdout.is_empty());

    if !terminal::is_there() {
        return;
    }
    // A copy that others may run.
    let open = |path: &Path| {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    open(dir.path());
    let program = dir.path().join("memmon");
    fs::copy(MEMMON, &program).unwrap();
    let bus = Bus::start(dir.path());
    let variables = [
        ("DBUS_SYSTEM_BUS_ADDRESS", bus.address.as_str()),
        ("MEMMON", program.to_str().unwrap()),
    ];
    let terminal = Terminal::open(dir.path(), SMALL, &variables);
    terminal.line("TERM=dumb \"$MEMMON\" top");
    terminal.prompt(2);
    let as_other = if rustix::process::geteuid().is_root() {
        "setpriv --reuid=65534 --regid=65534 --clear-groups "
    } else {
        ""
    };
    terminal.line(&format!("clear; {as_other}\"$MEMMON\" top"));
    let screen = terminal.prompt(4);
    let text = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("no agent is running") && text.contains("CAP_BPF"),
        "{screen}"
    );
    assert_eq!(terminal.property("alternate_on"), "0");
}
