//! One boot of one platform: runs its cases and judges what came back.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    cache,
    command::tail,
    disk,
    kernel::Kernel,
    monitoring, payload,
    platform::Platform,
    protocol::{Line, Status, Transcript},
    qemu::{self, Disks, Ports},
};
use crate::{build, web};

/// Size of the empty disk that cases may swap to.
const SCRATCH_MIB: u64 = 512;
/// Under emulation a kernel may die while it boots, before anything of ours runs (7.3 did, in its scheduler's
/// clock); that says nothing about memmon, so it is told and the machine booted again.
const BOOTS: usize = 3;
/// How much of a log a failure shows.
const SHOWN_LINES: usize = 60;

/// What a run needs besides its platform.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Globs over the names of cases; empty: all.
    pub(crate) cases: Vec<String>,
    /// From power-on to power-off.
    pub(crate) deadline: Duration,
    /// Run the long cases instead, each for so many minutes.
    pub(crate) soak_minutes: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) platform: &'static str,
    pub(crate) release: String,
    pub(crate) passed: usize,
    pub(crate) skipped: Vec<(String, String)>,
    pub(crate) problems: Vec<String>,
    pub(crate) seconds: f64,
}

/// Boots the platform and runs the cases; a failed case is in the summary, not an error.
///
/// # Errors
/// If the machine cannot be set up or started.
pub(crate) fn run(
    platform: &'static Platform,
    kernel: &Kernel,
    root: &Path,
    binaries: &Path,
    plan: &Plan,
) -> Result<Summary> {
    let dir = build::target_dir().join("vm").join(platform.name);
    let mut boot = 1;
    loop {
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let disks = prepare_disks(&dir, platform, kernel, root, binaries, plan)?;
        eprintln!(
            "vm {}: {} on {} (results in {})",
            platform.name,
            kernel.release,
            platform.root,
            dir.display()
        );
        let (summary, counts) = boot_once(&dir, platform, kernel, &disks, plan)?;
        if counts || boot == BOOTS {
            return Ok(summary);
        }
        eprintln!(
            "vm {}: boot {boot} of at most {BOOTS} ended before the guest said anything: {}",
            platform.name,
            summary.problems.join("; ")
        );
        boot += 1;
    }
}

/// Boots once; also whether this counts: the guest said something, or all its time is used up.
fn boot_once(
    dir: &Path,
    platform: &'static Platform,
    kernel: &Kernel,
    disks: &Disks,
    plan: &Plan,
) -> Result<(Summary, bool)> {
    let console = dir.join("console.log");
    let started = Instant::now();
    let web = free_port()?;
    let ports = Ports::Test {
        console: &console,
        web,
    };
    let mut child = qemu::command(kernel, disks, &ports)?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting qemu-system-x86_64")?;
    let followed = follow(&mut child, platform, dir, web, started + plan.deadline);
    // Its output has ended, so it is about to end by itself; otherwise nothing may be left running.
    if !followed.as_ref().is_ok_and(|followed| followed.in_time) {
        child.kill().context("stopping qemu")?;
    }
    let status = child.wait().context("waiting for qemu")?;
    let Followed {
        transcript,
        logs,
        browsers,
        in_time,
    } = followed?;
    let said = fs::read(&console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())?;
    let mut problems = transcript.problems(&said);
    for browser in browsers {
        match browser.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => problems.push(format!("in the browser: {error:#}")),
            Err(_) => problems.push("the browser's thread panicked".to_owned()),
        }
    }
    if !in_time {
        problems.push(format!(
            "not done after {} seconds: stopped",
            plan.deadline.as_secs()
        ));
    } else if !status.success() {
        problems.push(format!("qemu ended with {status}"));
    }
    if !problems.is_empty() {
        show_tail(&console);
        logs.iter().for_each(|log| show_tail(log));
    }
    for disk in [&disks.scratch, &disks.payload] {
        fs::remove_file(disk).with_context(|| format!("removing {}", disk.display()))?;
    }
    let counts = transcript.began() || !in_time;
    let summary = Summary {
        platform: platform.name,
        release: kernel.release.clone(),
        passed: transcript.passed,
        skipped: transcript.skipped,
        problems,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok((summary, counts))
}

/// The disks of one boot, those that are made for it in `dir`.
pub(crate) fn prepare_disks(
    dir: &Path,
    platform: &Platform,
    kernel: &Kernel,
    root: &Path,
    binaries: &Path,
    plan: &Plan,
) -> Result<Disks> {
    let scratch = dir.join("scratch.raw");
    disk::sparse(&scratch, SCRATCH_MIB)?;
    Ok(Disks {
        root: root.to_owned(),
        payload: payload::image(dir, binaries, platform, kernel, plan)?,
        modules: kernel.modules.clone(),
        scratch,
        monitoring: monitoring()?,
    })
}

fn monitoring() -> Result<PathBuf> {
    let _lock = cache::lock("images")?;
    Ok(monitoring::ensure()?.image)
}

struct Followed {
    transcript: Transcript,
    logs: BTreeSet<PathBuf>,
    /// They end by themselves: each has a deadline, and the machine is gone.
    browsers: Vec<JoinHandle<Result<()>>>,
    in_time: bool,
}

/// Shows and keeps what the guest says until it stops or the deadline is over.
fn follow(
    child: &mut Child,
    platform: &Platform,
    dir: &Path,
    web: u16,
    deadline: Instant,
) -> Result<Followed> {
    let output = child.stdout.take().context("qemu's output is a pipe")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let path = dir.join("results.jsonl");
    let mut results = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let mut transcript = Transcript::default();
    let mut logs = BTreeSet::new();
    let mut browsers = Vec::new();
    let in_time = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Ok(text) => {
                writeln!(results, "{}", text.trim_end()).context("writing results")?;
                match transcript.take(&text) {
                    Some(Line::Log { log, text }) => {
                        logs.insert(append_log(dir, &log, &text)?);
                    }
                    Some(Line::Browse { browse }) => {
                        let machine = platform.name;
                        browsers.push(thread::spawn(move || {
                            web::watch(web, &browse, |said| eprintln!("vm {machine}:   browser: {said}"))
                        }));
                    }
                    Some(line) => show(platform.name, &line),
                    None => {}
                }
            }
        }
    };
    Ok(Followed {
        transcript,
        logs,
        browsers,
        in_time,
    })
}

/// A port of the loopback that nobody has at this moment.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

fn append_log(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    // The name comes from the guest: it chooses a file, not a directory.
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.@".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let path = dir.join(format!("{name}.log"));
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    writeln!(file, "{text}").with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn show(machine: &str, line: &Line) {
    match line {
        Line::Case {
            case,
            status,
            detail,
            seconds,
        } => {
            let word = match status {
                Status::Ok => "ok",
                Status::Failed => "FAILED",
                Status::Skipped => "skipped",
            };
            eprintln!("vm {machine}:   {word:7} {case} ({seconds:.1} s) {detail}");
        }
        Line::Say { say } => eprintln!("vm {machine}:     {say}"),
        Line::Measure { measure, value } => eprintln!("vm {machine}:   measured {measure}: {value}"),
        Line::Start { .. } | Line::Log { .. } | Line::Browse { .. } | Line::End { .. } => {}
    }
}

fn show_tail(log: &Path) {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    eprintln!("---- end of {} ----", log.display());
    eprintln!("{}", tail(&text, SHOWN_LINES));
    eprintln!("----");
}
