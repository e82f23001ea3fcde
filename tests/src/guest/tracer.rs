//! `memmon trace --json` beside a case: started, heard, ended, and its stream checked for balance.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Ctx, documents, stream::Stream};

/// No unit is called so.
const NOBODY: &str = "attribution-nobody.service";

/// So many lines, and the end, are held against their schemas: all of them would take longer than the case.
const VALIDATED: usize = 32;
/// How long one look at the trace's output lasts.
const LOOK: Duration = Duration::from_millis(20);

enum Heard {
    Out(String),
    Err(String),
}

/// A running trace; it is killed when this is dropped.
pub struct Tracer {
    child: Child,
    heard: Receiver<Heard>,
    stream: Stream,
    notes: Vec<String>,
}

impl Ctx {
    /// Starts `memmon trace --json` for every unit and waits until it counts.
    ///
    /// # Errors
    /// If it does not.
    pub fn trace(&self, args: &[&str]) -> Result<Tracer> {
        let mut all = vec!["--unit", "*"];
        all.extend(args);
        self.trace_only(&all)
    }

    /// As [`Ctx::trace`], but `args` must say which units to show.
    ///
    /// The trace says that no unit has the name we ask for (beside others) once it has read where the
    /// counters stand: nothing that happens from then on can escape it.
    ///
    /// # Errors
    /// If it does not count.
    pub fn trace_only(&self, args: &[&str]) -> Result<Tracer> {
        let mut child = Command::new("/usr/bin/memmon")
            .args(["trace", "--json", "--unit", NOBODY])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting memmon trace")?;
        let (sender, heard) = mpsc::channel();
        forward(
            child.stdout.take().context("no pipe")?,
            Heard::Out,
            sender.clone(),
        );
        forward(child.stderr.take().context("no pipe")?, Heard::Err, sender);
        let mut tracer = Tracer {
            child,
            heard,
            stream: Stream::default(),
            notes: Vec::new(),
        };
        self.wait("the trace looks for units", || {
            tracer.listen()?;
            Ok(tracer
                .notes
                .iter()
                .any(|note| note.contains(NOBODY))
                .then_some(()))
        })?;
        Ok(tracer)
    }
}

fn forward(stream: impl Read + Send + 'static, kind: fn(String) -> Heard, to: mpsc::Sender<Heard>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if to.send(kind(line)).is_err() {
                break;
            }
        }
    });
}

impl Tracer {
    /// What the trace has printed so far, without the end.
    ///
    /// # Errors
    /// If it has ended, or printed something that is no line of a trace.
    pub fn so_far(&mut self) -> Result<&Stream> {
        let open = self.listen()?;
        ensure!(open, "the trace has ended by itself; it said {:?}", self.notes);
        Ok(&self.stream)
    }

    /// What it said on standard error.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Ends the trace as Ctrl-C does, reads the rest and checks it: see [`Stream::balanced`].
    ///
    /// # Errors
    /// If it does not end in time or with code 0, or its stream does not balance.
    pub fn finish(self, ctx: &Ctx) -> Result<Stream> {
        let stream = self.finish_counted(ctx)?;
        stream.balanced()?;
        Ok(stream)
    }

    /// As [`Tracer::finish`], but the stream is checked as [`Stream::counted`] does.
    ///
    /// # Errors
    /// As [`Tracer::finish`].
    pub fn finish_counted(mut self, ctx: &Ctx) -> Result<Stream> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no pid")?, Signal::INT).context("interrupting the trace")?;
        ctx.wait("the trace has closed its output", || {
            Ok((!self.listen()?).then_some(()))
        })?;
        let status = self.child.wait().context("waiting for the trace")?;
        ensure!(
            status.success(),
            "memmon trace: {status}; it said {:?}",
            self.notes
        );
        let stream = std::mem::take(&mut self.stream);
        stream.counted()?;
        Ok(stream)
    }

    /// Takes over what has been said; `false` if the trace has closed its output.
    fn listen(&mut self) -> Result<bool> {
        loop {
            match self.heard.recv_timeout(LOOK) {
                Ok(Heard::Out(line)) => {
                    self.stream.take(&line)?;
                    if self.stream.lines.len() <= VALIDATED || self.stream.end().is_ok() {
                        documents::conforms(&serde_json::from_str(&line)?)?;
                    }
                }
                Ok(Heard::Err(line)) => self.notes.push(line),
                Err(RecvTimeoutError::Timeout) => return Ok(true),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
