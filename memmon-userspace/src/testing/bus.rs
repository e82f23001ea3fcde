//! A message bus of one's own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SOCKET: &str = "bus.socket";

/// A `dbus-daemon` that allows everything to everybody; ends with the value.
pub(crate) struct Bus {
    daemon: Child,
    /// Where it listens: the same for each bus of one directory.
    pub(crate) address: String,
}

impl Bus {
    /// Where a bus that was started in `dir` listens.
    pub(crate) fn address_in(dir: &Path) -> String {
        format!("unix:path={}", dir.join(SOCKET).display())
    }

    /// Starts it, with a socket in `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        // One that was killed leaves its socket.
        fs::remove_file(dir.join(SOCKET)).ok();
        let address = Self::address_in(dir);
        let config = dir.join("bus.conf");
        let text = format!(
            "<busconfig><listen>{address}</listen><auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/>\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>"
        );
        fs::write(&config, text).expect("writing the bus configuration");
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--print-address", "--config-file"])
            .arg(&config)
            .stdout(Stdio::piped())
            // It complains that it may not raise its limit of open files.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is needed for this test (Debian: apt install dbus)");
        // It prints the address once it listens.
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("reading the address");
        assert!(line.starts_with("unix:"), "dbus-daemon said {line:?}");
        Self { daemon, address }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}
