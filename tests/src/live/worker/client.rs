//! The other end of the pipe.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::PAGE;
use crate::host::interrupt;

/// Longest time that one request may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Memory of a [`Workload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    index: u64,
    /// Where it begins in the process.
    pub address: u64,
    /// Its length, bytes.
    pub bytes: u64,
}

impl Region {
    /// Its length, pages.
    pub const fn pages(&self) -> u64 {
        self.bytes / PAGE
    }
}

/// A running process that owns pages; it dies with this.
pub struct Workload {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    /// Its process id.
    pub pid: u32,
}

impl Workload {
    /// Starts `program` with `args`, which must lead to [`super::serve::serve`] on its standard streams.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Path, args: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let requests = child.stdin.take().context("no pipe to the workload")?;
        let output = child.stdout.take().context("no pipe from the workload")?;
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let pid = child.id();
        Ok(Self {
            child,
            requests,
            answers,
            pid,
        })
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn tell(&mut self, request: &str) -> Result<()> {
        writeln!(self.requests, "{request}").with_context(|| format!("telling the workload: {request}"))
    }

    /// Waits for the answer to the oldest request that has none yet.
    ///
    /// # Errors
    /// If the request failed, the process died, or the user interrupts.
    pub fn answer(&mut self) -> Result<Vec<u64>> {
        let deadline = Instant::now() + PATIENCE;
        let line = loop {
            match self.answers.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) => {
                    interrupt::check()?;
                    ensure!(
                        Instant::now() < deadline,
                        "the workload did not answer within {PATIENCE:?}"
                    );
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the workload is gone: {:?}", self.child.try_wait());
                }
            }
        };
        let numbers = line
            .strip_prefix("ok")
            .ok_or_else(|| anyhow!("workload: {line}"))?;
        numbers
            .split_ascii_whitespace()
            .map(|word| word.parse().with_context(|| format!("workload: {line}")))
            .collect()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Self::tell`] and [`Self::answer`].
    pub fn ask(&mut self, request: &str) -> Result<Vec<u64>> {
        self.tell(request)?;
        self.answer()
    }

    /// Maps `pages` of `kind`: `anon`, `huge` or `memfd`.
    ///
    /// # Errors
    /// If the process cannot.
    pub fn map(&mut self, kind: &str, pages: u64) -> Result<Region> {
        match *self.ask(&format!("map {kind} {}", pages * PAGE))? {
            [index, address, bytes] => Ok(Region {
                index,
                address,
                bytes,
            }),
            ref other => bail!("map answered {other:?}"),
        }
    }

    /// A request about one region: `what` is its first word, `rest` follows the region.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn on(&mut self, what: &str, region: Region, rest: &str) -> Result<Vec<u64>> {
        self.ask(&format!("{what} {} {rest}", region.index))
    }

    /// As [`Self::on`], without waiting.
    ///
    /// # Errors
    /// As [`Self::tell`].
    pub fn tell_on(&mut self, what: &str, region: Region, rest: &str) -> Result<()> {
        self.tell(&format!("{what} {} {rest}", region.index))
    }

    /// Pages of the region that are in swap.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn swapped(&mut self, region: Region) -> Result<u64> {
        let answer = self.on("swapped", region, "")?;
        answer.first().copied().context("swapped answered nothing")
    }

    /// Pages the whole region out. A page that the kernel left out at first is tried again; one that is out
    /// is not written a second time.
    ///
    /// # Errors
    /// If pages stay in memory.
    pub fn page_out(&mut self, region: Region) -> Result<()> {
        self.on("pageout", region, "")?;
        let mut swapped = self.swapped(region)?;
        for _ in 0..5 {
            if swapped == region.pages() {
                return Ok(());
            }
            self.on("pageout-everywhere", region, "")?;
            swapped = self.swapped(region)?;
        }
        ensure!(
            swapped == region.pages(),
            "MADV_PAGEOUT took only {swapped} of {} pages",
            region.pages()
        );
        Ok(())
    }

    /// New pages in `kind` of memory, each filled and then paged out.
    ///
    /// # Errors
    /// If the process cannot, or pages stay in memory.
    pub fn fill_and_page_out(&mut self, kind: &str, pages: u64) -> Result<Region> {
        let region = self.map(kind, pages)?;
        self.on("fill", region, "")?;
        self.page_out(region)?;
        Ok(region)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
