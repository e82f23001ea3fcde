//! What the running agent takes: memory, CPU time, and how often it wakes.

use std::{
    fs,
    net::TcpListener,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{float, report::Table};
use crate::{
    guest::viewers::Pages,
    host::{interrupt, wait},
    live::context::Context,
};

/// The contract: this host cannot do it.
const UNSUPPORTED: i32 = 3;
/// It tests itself, and looks for a bus again and again, ever more rarely.
const SETTLED: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(60);
const STORM: Duration = Duration::from_secs(10);
/// 32 MiB for each process of a storm.
const PAGES: u64 = 8192;

pub(super) fn measure(context: &Context, _: usize) -> Result<Table> {
    let mut table = Table::new(
        "The agent",
        &[
            "",
            "RSS MiB",
            "of it anonymous",
            "locked MiB",
            "CPU %",
            "wake-ups/s",
        ],
        &format!(
            "`memmon run --dry-run`, listening nowhere, without a service manager: idle for {} s, {} s after its \
             start, then {} s each while one process per CPU swaps as fast as it can, in a cgroup that is not critical \
             and in one that is. In the last row another one, idle as long and as late, with the web page open twenty \
             times, scraped every second, with history and forecasts. CPU: share of one core, all threads (schedstat). Wake-ups: voluntary context switches. Aimed at: \
             12 MiB resident, with everything on 20.",
            IDLE.as_secs(),
            SETTLED.as_secs(),
            STORM.as_secs()
        ),
    );
    let agent = match Agent::start(context, &configuration())? {
        Ok(agent) => agent,
        Err(reason) => {
            let cells = [format!("not measured: {reason}")];
            table.row(cells.into_iter().chain(vec!["–".to_owned(); 5]));
            return Ok(table);
        }
    };
    agent.over("settling", SETTLED, || Ok(()))?;
    table.row(agent.over("idle", IDLE, || Ok(()))?);
    for (what, name) in [
        ("storm, not critical", "observed.service"),
        ("storm, critical", CRITICAL_NAME),
    ] {
        let cgroup = context.cgroup(name)?;
        let mut busy = Vec::new();
        for _ in 0..std::thread::available_parallelism()?.get() {
            let mut workload = context.workload(&cgroup)?;
            let region = workload.map("anon", PAGES)?;
            busy.push((workload, region));
        }
        table.row(agent.over(what, STORM, || {
            for (workload, region) in &mut busy {
                // More than fits the time; they die with this loop.
                workload.tell_on("storm", *region, "100000")?;
            }
            Ok(())
        })?);
    }
    drop(agent);
    table.row(everything_on(context)?);
    Ok(table)
}

/// The web page with twenty viewers, a scrape per second, history and forecasts.
fn everything_on(context: &Context) -> Result<Vec<String>> {
    let _directory = Directory::make(Path::new(STATE))?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let listen = format!("listen = \"127.0.0.1:{port}\"");
    let configuration = configuration().replacen("listen = \"\"", &listen, 1) + "[http]\npage = true\n";
    let agent = Agent::start(context, &configuration)?.map_err(anyhow::Error::msg)?;
    let pages = Pages::open(port, VIEWERS);
    wait::until("every viewer has seen something", || {
        Ok(pages.all_see().then_some(()))
    })?;
    agent.over("settling", SETTLED, || Ok(()))?;
    let row = agent.over("everything on, 20 viewers", IDLE, || Ok(()))?;
    pages.end()?;
    Ok(row)
}

/// Where the agent keeps its history, if there is such a directory.
const STATE: &str = "/var/lib/memmon";
const VIEWERS: usize = 20;

/// A directory that goes again, unless it was there before: then it is somebody's.
struct Directory(Option<PathBuf>);

impl Directory {
    fn make(path: &Path) -> Result<Self> {
        if path.exists() {
            return Ok(Self(None));
        }
        fs::create_dir(path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(Some(path.to_owned())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// As the configuration below spells it.
const CRITICAL_NAME: &str = "critical.service";

fn configuration() -> String {
    format!("listen = \"\"\n[units]\n\"memmon-live-*-{CRITICAL_NAME}\" = \"critical\"\n")
}

/// A running agent; it is ended when this is dropped.
pub(super) struct Agent {
    child: Child,
    /// Its configuration and its socket lie there.
    _dir: tempfile::TempDir,
}

/// CPU time and wake-ups so far.
struct Usage {
    at: Instant,
    cpu_ns: u64,
    wakes: u64,
}

impl Agent {
    /// Starts the agent and waits until it is ready. Says why if there is none to start.
    pub(super) fn start(context: &Context, configuration: &str) -> Result<Result<Self, String>> {
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("memmon.toml");
        fs::write(&config, configuration)?;
        let socket = dir.path().join("notify");
        let notified = UnixDatagram::bind(&socket).context("binding the notification socket")?;
        notified.set_nonblocking(true)?;
        let mut child = Command::new(&context.memmon)
            .args(["run", "--dry-run", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log"))?)
            .spawn()
            .with_context(|| format!("starting {}", context.memmon.display()))?;
        let ended = wait::until("the agent is ready", || {
            let mut message = [0; 4096];
            if let Ok(length) = notified.recv(&mut message)
                && String::from_utf8_lossy(&message[..length]).contains("READY=1")
            {
                return Ok(Some(None));
            }
            Ok(child.try_wait()?.map(Some))
        });
        let log = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        match ended {
            Ok(None) => {}
            Ok(Some(status)) if status.code() == Some(UNSUPPORTED) => {
                return Ok(Err(log().trim().to_owned()));
            }
            Ok(Some(status)) => bail!("the agent ended with {status}: {}", log()),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.context(log()));
            }
        }
        Ok(Ok(Self { child, _dir: dir }))
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    fn usage(&self) -> Result<Usage> {
        let (mut cpu_ns, mut wakes) = (0, 0);
        for task in fs::read_dir(self.proc("task"))? {
            let task = task?.path();
            let schedstat = fs::read_to_string(task.join("schedstat"))?;
            let ns = schedstat.split_ascii_whitespace().next().unwrap_or_default();
            cpu_ns += ns.parse::<u64>().with_context(|| schedstat.clone())?;
            wakes += field(&task.join("status"), "voluntary_ctxt_switches")?;
        }
        Ok(Usage {
            at: Instant::now(),
            cpu_ns,
            wakes,
        })
    }

    /// Begins something and measures for a while.
    fn over(&self, what: &str, time: Duration, begin: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
        let before = self.usage()?;
        begin()?;
        // A measurement over a time, not a wait for a condition.
        while before.at.elapsed() < time {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        let after = self.usage()?;
        let seconds = (after.at - before.at).as_secs_f64();
        let status = self.proc("status");
        let mebibytes = |name: &str| -> Result<String> {
            Ok(format!("{:.1}", float(field(Path::new(&status), name)?) / 1024.0))
        };
        ensure!(after.cpu_ns >= before.cpu_ns, "a thread ended meanwhile");
        Ok(vec![
            what.to_owned(),
            mebibytes("VmRSS")?,
            mebibytes("RssAnon")?,
            mebibytes("VmLck")?,
            format!("{:.3}", float(after.cpu_ns - before.cpu_ns) / seconds / 1e7),
            format!("{:.2}", float(after.wakes.saturating_sub(before.wakes)) / seconds),
        ])
    }
}

/// A number of a `status` file of `/proc`.
fn field(path: &Path, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    value.with_context(|| format!("{} has no {name}", path.display()))
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let ended = wait::until("the agent ends", || Ok(self.child.try_wait()?));
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
