//! A real terminal: tmux, with a server of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

/// How long a screen may take to come. Emulated and busy machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set by `cargo xtask test`, which installs tmux: then a missing one is a failure.
const REQUIRED: &str = "MEMMON_TEST_TOOLS";
/// A directory that screens are written to.
const SCREENS: &str = "MEMMON_SCREENS";

/// Whether there is a tmux; says that the test is skipped if not, or fails.
pub(crate) fn is_there() -> bool {
    let there = Command::new("tmux")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        assert!(env::var_os(REQUIRED).is_none(), "tmux is not installed");
        println!("skipped: tmux is not installed");
    }
    there
}

/// A shell in a terminal.
pub(crate) struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// A terminal of this size, where `variables` are set.
    pub(crate) fn open(dir: &Path, (width, height): (u16, u16), variables: &[(&str, &str)]) -> Self {
        let terminal = Self {
            socket: dir.join("tmux"),
        };
        let (width, height) = (width.to_string(), height.to_string());
        let mut command = terminal.command(&[
            "-f",
            "/dev/null",
            "-u",
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
        ]);
        for (name, value) in variables {
            command.args(["-e", &format!("{name}={value}")]);
        }
        // Known prompt, no start-up files, job control.
        command.args(["env", "PS1=$? ready> ", "bash", "--norc", "--noprofile", "-i"]);
        // A server started with these would hand them on.
        command
            .env_remove("NO_COLOR")
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8");
        assert!(command.status().unwrap().success());
        terminal.run(&["set", "-g", "status", "off"]);
        terminal.run(&["resize-window", "-x", &width, "-y", &height]);
        terminal.prompt(0);
        terminal
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(
            output.status.success(),
            "tmux {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Presses keys, as tmux names them.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.run(&[["send-keys"].as_slice(), keys].concat());
    }

    /// Types a line and Enter.
    pub(crate) fn line(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
        self.press(&["Enter"]);
    }

    pub(crate) fn resize(&self, (width, height): (u16, u16)) {
        self.run(&[
            "resize-window",
            "-x",
            &width.to_string(),
            "-y",
            &height.to_string(),
        ]);
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8(self.run(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// The same with escape sequences for colours and attributes.
    pub(crate) fn coloured(&self) -> String {
        String::from_utf8(self.run(&["capture-pane", "-p", "-e"]).stdout).unwrap()
    }

    /// A variable of tmux about the terminal.
    pub(crate) fn property(&self, name: &str) -> String {
        let output = self.run(&["display-message", "-p", &format!("#{{{name}}}")]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits until `text` is on the screen, and returns that.
    pub(crate) fn wait(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    /// Waits until the shell asks for a command after one that ended with `status`.
    pub(crate) fn prompt(&self, status: i32) -> String {
        let prompt = format!("{status} ready>");
        self.until(&prompt, |screen| {
            let last = screen.lines().rev().find(|line| !line.trim().is_empty());
            last.is_some_and(|line| line.trim() == prompt)
        })
    }

    /// Waits until the screen is as `is` says, and not being drawn just now.
    pub(crate) fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut before = String::new();
        loop {
            let screen = self.screen();
            if is(&screen) && screen == before {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what:?} did not come:\n{screen}");
            before = screen;
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Lets time pass, if somebody asks for screens: the history is to be seen on them.
    pub(crate) fn linger(&self) {
        if env::var_os(SCREENS).is_some() {
            std::thread::sleep(Duration::from_secs(100));
        }
    }

    /// Writes the screen to `NAME.txt`, if somebody asks for screens.
    pub(crate) fn record(&self, name: &str) {
        if let Some(dir) = env::var_os(SCREENS) {
            fs::create_dir_all(&dir).unwrap();
            let screen = self.until("a screen", |_| true);
            let lines: Vec<&str> = screen.lines().map(str::trim_end).collect();
            fs::write(
                Path::new(&dir).join(format!("{name}.txt")),
                lines.join("\n") + "\n",
            )
            .unwrap();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.command(&["kill-server"]).output().ok();
    }
}
