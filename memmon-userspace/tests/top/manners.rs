//! How the program treats the terminal, and who may run it.

use std::{fs, path::Path, process::Command};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    MEMMON, SMALL,
    bus::Bus,
    documents::report,
    terminal::{self, Terminal},
};

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
