//! Runs the selected cases, each in a process of its own.

use std::{
    any::Any,
    env, fs,
    io::{self, Read},
    os::unix::process::CommandExt,
    panic,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use super::{
    Case, Ctx, Outcome,
    case::select,
    ctx::Run,
    results::{Line, Port, Status},
    shell,
    undo::Journal,
};

/// Where a case writes down what has to be undone.
const UNDO: &str = "/run/memmon-guest.undo";
/// Before a case is stopped, what it waits for runs into its own deadline and says what is missing.
const GRACE: Duration = Duration::from_secs(15);

/// What a case's process says on its standard output.
#[derive(Debug, Deserialize, Serialize)]
enum Verdict {
    Passed(String),
    Skipped(String),
    Failed(String),
}

/// Everything: reads the configuration, runs the cases, says how they ended.
///
/// # Errors
/// If the configuration or the results port cannot be used.
pub fn run_all() -> Result<()> {
    Port::set_up()?;
    let port = Port::open()?;
    let began = Instant::now();
    let run = Run::read()?;
    let value = seconds_since_boot()?.into();
    port.send(&Line::Measure {
        measure: "boot_seconds",
        value: &value,
    })?;
    let undo = Journal::new(UNDO);
    let mut ran = 0;
    for case in select(&run.registry(), &run.cases)? {
        port.send(&Line::Start { start: case.name })?;
        let began = Instant::now();
        let before = journal_cursor()?;
        let mut verdict = run_one(case, run.time_for(case));
        if let Err(error) = undo.undo() {
            // The machine is not clean: that is this case's fault, not the next one's.
            verdict = Verdict::Failed(match verdict {
                Verdict::Failed(detail) => format!("{detail}; {error:#}"),
                _ => format!("{error:#}"),
            });
        }
        let (status, detail) = match &verdict {
            Verdict::Passed(detail) => (Status::Ok, detail),
            Verdict::Skipped(detail) => (Status::Skipped, detail),
            Verdict::Failed(detail) => (Status::Failed, detail),
        };
        if status == Status::Failed {
            send_journals(&port, case, &before)?;
        }
        port.send(&Line::Case {
            case: case.name,
            status,
            detail,
            seconds: began.elapsed().as_secs_f64(),
        })?;
        ran += 1;
    }
    let value = began.elapsed().as_secs_f64().into();
    port.send(&Line::Measure {
        measure: "cases_seconds",
        value: &value,
    })?;
    port.send(&Line::End { end: true, ran })?;
    Ok(())
}

fn seconds_since_boot() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime").context("reading /proc/uptime")?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().with_context(|| format!("/proc/uptime: {text}"))
}

/// Where the journal ends now.
fn journal_cursor() -> Result<String> {
    let shown = shell::run("journalctl", &["--no-pager", "-n", "1", "--show-cursor"])?;
    let cursor = shown.lines().find_map(|line| line.strip_prefix("-- cursor: "));
    Ok(cursor.unwrap_or_default().to_owned())
}

/// What the agent and everything else said during the case.
fn send_journals(port: &Port, case: &Case, since: &str) -> Result<()> {
    let after = format!("--after-cursor={since}");
    let common = ["--no-pager", "-o", "short-monotonic", &after];
    for (name, unit) in [("agent", Some("memmon.service")), ("journal", None)] {
        let mut args = common.to_vec();
        if let Some(unit) = unit {
            args.extend(["-u", unit]);
        }
        let text = shell::run("journalctl", &args).unwrap_or_else(|error| format!("{error:#}"));
        let text = format!("==== {} ====\n{text}", case.name);
        port.send(&Line::Log {
            log: name,
            text: &text,
        })?;
    }
    Ok(())
}

fn run_one(case: &Case, time: Duration) -> Verdict {
    match supervise(case, time) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    }
}

/// Starts the case's process and waits for it, for as long as it may take.
fn supervise(case: &Case, time: Duration) -> Result<Verdict> {
    let mut child = Command::new(env::current_exe().context("finding this program")?)
        .args(["case", case.name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Whatever the case starts and leaves is stopped with it.
        .process_group(0)
        .spawn()
        .context("starting the case's process")?;
    let group = Pid::from_child(&child);
    let mut output = child.stdout.take().context("the case's output is a pipe")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let in_time = wait_until(&mut child, Instant::now() + time)?;
    match kill_process_group(group, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) | Ok(()) => {}
        Err(error) => return Err(error).context("stopping the case's process group"),
    }
    let status = child.wait().context("waiting for the case's process")?;
    if !in_time {
        bail!("not done after {} s", time.as_secs());
    }
    let text = reader
        .join()
        .map_err(|_| io::Error::other("the reader panicked"))
        .and_then(|read| read)
        .context("reading the case's verdict")?;
    match text.lines().last().map(serde_json::from_str) {
        Some(Ok(verdict)) => Ok(verdict),
        _ => bail!("the case's process ended with {status} and without a verdict"),
    }
}

fn wait_until(child: &mut Child, deadline: Instant) -> Result<bool> {
    while child
        .try_wait()
        .context("waiting for the case's process")?
        .is_none()
    {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// The process of one case: runs it and prints its verdict.
///
/// # Errors
/// If there is no such case or the port cannot be opened.
pub fn run_case(name: &str) -> Result<ExitCode> {
    let run = Run::read()?;
    let registry = run.registry();
    let case = registry
        .iter()
        .find(|case| case.name == name)
        .with_context(|| format!("no case is called {name}"))?;
    let deadline = Instant::now() + run.time_for(case).saturating_sub(GRACE);
    let mut ctx = Ctx::new(run, deadline, Journal::new(UNDO), Port::open()?);
    let verdict = match panic::catch_unwind(panic::AssertUnwindSafe(|| (case.run)(&mut ctx))) {
        Ok(Ok(Outcome::Passed(what))) => Verdict::Passed(what),
        Ok(Ok(Outcome::Skipped(why))) => Verdict::Skipped(why),
        Ok(Err(error)) => Verdict::Failed(format!("{error:#}")),
        Err(payload) => Verdict::Failed(format!("panic: {}", words(&*payload))),
    };
    println!("{}", serde_json::to_string(&verdict)?);
    Ok(ExitCode::SUCCESS)
}

fn words(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}

/// Whether this looks like one of our virtual machines: the runner powers off what it runs on.
pub fn inside_a_test_machine() -> bool {
    let payload: PathBuf = Path::new(super::ctx::PAYLOAD).join("run.json");
    let arguments = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    payload.exists()
        && arguments
            .split_whitespace()
            .any(|word| word.starts_with("memmon."))
}
