//! `memmon trace` as its users see it: a process with a standard output.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{context::Context, meter};
use crate::{
    host::{interrupt, wait},
    live::worker::client::Workload,
    schema,
};

/// No unit is called so.
pub(super) const NOBODY: &str = "memmon-live-nobody.service";

/// What a trace has said: lines in order, of standard output and standard error.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) out: Vec<String>,
    pub(super) err: Vec<String>,
}

enum Line {
    Out(String),
    Err(String),
}

/// A running trace; it is killed when this is dropped.
pub(super) struct Tracer {
    child: Child,
    lines: Receiver<Line>,
    pub(super) said: Said,
}

fn forward(stream: impl Read + Send + 'static, kind: fn(String) -> Line, to: mpsc::Sender<Line>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if to.send(kind(line)).is_err() {
                break;
            }
        }
    });
}

impl Tracer {
    /// Starts `memmon trace` with `args`.
    pub(super) fn start(context: &Context, args: &[&str]) -> Result<Self> {
        let mut child = Command::new(&context.memmon)
            .arg("trace")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", context.memmon.display()))?;
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take().context("no pipe")?, Line::Out, sender.clone());
        forward(child.stderr.take().context("no pipe")?, Line::Err, sender);
        Ok(Self {
            child,
            lines,
            said: Said::default(),
        })
    }

    /// Starts `memmon trace --json` and waits until it counts.
    ///
    /// It says that no unit has the name we ask for (beside all others) once it has read where the counters
    /// stand.
    pub(super) fn watching(context: &Context, args: &[&str]) -> Result<Self> {
        let args: Vec<&str> = ["--json", "--unit", "*", "--unit", NOBODY]
            .iter()
            .chain(args)
            .copied()
            .collect();
        let mut tracer = Self::start(context, &args)?;
        tracer.hear("the trace looks for units", |said| {
            said.err.iter().any(|line| line.contains(NOBODY))
        })?;
        Ok(tracer)
    }

    /// Pages one page out, again and again, until the trace has said what `enough` looks for.
    pub(super) fn nudge(&mut self, workload: &mut Workload, enough: impl Fn(&Said) -> bool) -> Result<()> {
        let region = workload.map("anon", 1)?;
        let deadline = Instant::now() + wait::PATIENCE;
        loop {
            workload.on("storm", region, "1")?;
            self.listen(Duration::from_millis(50))?;
            if enough(&self.said) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the trace did not react within {:?}; it said {:?}",
                wait::PATIENCE,
                self.said
            );
        }
    }

    /// Takes over what is said within `time`; `false` if the trace has closed its output.
    fn listen(&mut self, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        loop {
            interrupt::check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(Line::Out(line)) => self.said.out.push(line),
                Ok(Line::Err(line)) => self.said.err.push(line),
                Err(RecvTimeoutError::Timeout) => return Ok(true),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
    }

    /// Listens until `enough` finds what it looks for.
    pub(super) fn hear(&mut self, what: &str, enough: impl Fn(&Said) -> bool) -> Result<()> {
        wait::until(what, || {
            let open = self.listen(Duration::from_millis(20))?;
            if enough(&self.said) {
                return Ok(Some(()));
            }
            ensure!(open, "{what}: the trace ended first; it said {:?}", self.said);
            Ok(None)
        })
    }

    /// As Ctrl-C does.
    pub(super) fn interrupt(&mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no pid")?, Signal::INT).context("interrupting the trace")
    }

    /// Waits until the trace has ended by itself.
    pub(super) fn ended(mut self) -> Result<(ExitStatus, Said)> {
        let status = wait::until("the trace ends", || {
            self.listen(Duration::from_millis(20))?;
            Ok(self.child.try_wait()?)
        })?;
        while self.listen(Duration::from_secs(1))? {}
        Ok((status, std::mem::take(&mut self.said)))
    }

    /// Interrupts the trace and reads the whole JSON stream.
    pub(super) fn finish(mut self) -> Result<Stream> {
        self.interrupt()?;
        let (status, said) = self.ended()?;
        ensure!(status.success(), "memmon trace: {status}; it said {:?}", said.err);
        Stream::parse(&said.out)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A JSON stream, taken apart.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) lines: Vec<Value>,
    pub(super) end: Value,
}

/// A number that must be there.
pub(super) fn number(value: &Value, pointer: &str) -> Result<u64> {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .ok_or_else(|| anyhow!("{pointer} is no number in {value}"))
}

impl Stream {
    pub(super) fn parse(lines: &[String]) -> Result<Self> {
        let mut values = lines
            .iter()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect::<Result<Vec<Value>>>()?;
        let end = values.pop().context("the trace said nothing")?;
        ensure!(
            end["schema"] == "memmon.trace_end/1",
            "the last line is not the end: {end}"
        );
        for line in &values {
            ensure!(line["schema"] == "memmon.swap_out/1", "not a swap-out: {line}");
        }
        Ok(Self { lines: values, end })
    }

    /// Checks lines against the shipped schemas: some of them, for the check is slow, and the end.
    pub(super) fn conforms(&self) -> Result<()> {
        for line in self.lines.iter().take(100).chain([&self.end]) {
            schema::check(line).map_err(|violations| anyhow!("{violations} in {line}"))?;
        }
        Ok(())
    }

    /// Lines whose owner is `cgroup`.
    pub(super) fn of(&self, cgroup: u64) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(move |line| line["cgroup_id"] == cgroup)
    }

    /// Pages of these lines.
    pub(super) fn pages<'a>(lines: impl Iterator<Item = &'a Value>) -> Result<u64> {
        lines.map(|line| number(line, "/pages")).sum()
    }

    /// Pages of `cgroup`, every line of which must bear its name.
    pub(super) fn pages_named(&self, cgroup: u64, path: &str) -> Result<u64> {
        for line in self.of(cgroup) {
            ensure!(line["cgroup"] == path, "expected the name {path} in {line}");
        }
        Self::pages(self.of(cgroup))
    }

    /// Checks everything that the end promises: nothing lost, the shown pages are the lines', and our count
    /// is the kernel's, through both of its ledgers. Returns the pages written.
    pub(super) fn balanced(&self) -> Result<u64> {
        let end = |field: &str| number(&self.end, field);
        let shown = Self::pages(self.lines.iter())?;
        ensure!(
            shown == end("/shown_pages")?,
            "lines of {shown} pages, but the end says {}",
            self.end
        );
        let misses = end("/recursion_misses")?;
        ensure!(misses == 0 || meter::may_miss(), "events missed: {}", self.end);
        ensure!(
            end("/lost_events")? == misses && end("/overflow_pages")? == 0,
            "something was lost: {}",
            self.end
        );
        let written = end("/ledger/write_folio")?;
        ensure!(
            end("/pages")? + end("/file_pages")? + misses == written,
            "the ledger does not balance: {}",
            self.end
        );
        ensure!(written > 0, "nothing was swapped: {}", self.end);
        // kernel.md §1: the tracepoint sees what was written, but for what zswap writes back later.
        let or_none = |field: &str| self.end.pointer(field).and_then(Value::as_u64).unwrap_or(0);
        let explained = end("/ledger/pswpout")? + or_none("/ledger/zswpout") + or_none("/ledger/zero");
        ensure!(
            written + or_none("/ledger/zswpwb") == explained + end("/file_pages")?,
            "the two ledgers differ by something else than zswap and zero pages: {}",
            self.end
        );
        Ok(written)
    }

    /// As [`Self::balanced`], and every page had a line.
    pub(super) fn complete(&self) -> Result<u64> {
        let written = self.balanced()?;
        let lined = number(&self.end, "/shown_pages")? + number(&self.end, "/unattributed_pages")?;
        ensure!(
            lined == number(&self.end, "/pages")?,
            "not every page had a line, or some line no page: {}",
            self.end
        );
        Ok(written)
    }
}
